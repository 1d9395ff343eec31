package scenarios

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of events.
const (
	maxEvents    = 100
	maxEventAt   = maxDuration
	maxPodDelay  = time.Minute // what an echo pod can be told to wait
	maxGrace     = 10 * time.Minute
	maxAfterSent = maxRequests
)

// eventActions are the fields of an event that say what is done, in the order of the documentation.
func eventActions() []string {
	return []string{
		"scale", "restart", "deletePod", "readiness", "label", "swap", "slow", "patchService",
		"cordon", "uncordon", "drain", "killNode", "restartKubeProxy",
	}
}

// validateEvents notes what is wrong with the events of a scenario.
func validateEvents(s *Scenario, p *problems) {
	validateStandby(&s.Spec.Echo, p)
	if n := len(s.Spec.Events); n > maxEvents {
		p.add("spec.events", "%d events: at most %d", n, maxEvents)
		return
	}
	longest := time.Duration(0)
	for i := range s.Spec.Clients {
		longest = max(longest, s.Spec.Clients[i].Duration)
	}
	pods := echoPodsAtMost(s)
	for i := range s.Spec.Events {
		e := &eventCheck{s: s, event: &s.Spec.Events[i], path: fmt.Sprintf("spec.events[%d]", i), pods: pods, p: p}
		e.trigger(longest)
		e.action()
	}
}

func validateStandby(echo *Echo, p *problems) {
	checkRange(p, "spec.echo.standby", echo.Standby, 0, maxReplicas)
	if echo.Grace != nil {
		checkDuration(p, "spec.echo.grace", *echo.Grace, 0, maxGrace)
	}
}

// echoPodsAtMost is how many echo pods there can be at some time of the run, those in standby included.
func echoPodsAtMost(s *Scenario) int {
	placed, most := 0, s.Spec.Echo.Replicas
	for _, n := range s.Spec.Echo.Placement {
		placed += n
	}
	for i := range s.Spec.Events {
		if n := s.Spec.Events[i].Scale; n != nil {
			most = max(most, *n)
		}
	}
	return max(most, placed) + s.Spec.Echo.Standby
}

// eventCheck is one event being looked at.
type eventCheck struct {
	s     *Scenario
	event *Event
	path  string
	pods  int
	p     *problems
}

func (c *eventCheck) add(field, format string, args ...any) {
	c.p.add(c.path+"."+field, format, args...)
}

func (c *eventCheck) has(field string) bool { return c.p.src.has(c.path + "." + field) }

// trigger looks at when the event comes.
func (c *eventCheck) trigger(longest time.Duration) {
	at, after := c.has("at"), c.has("afterRequests")
	switch {
	case at && after:
		c.add("afterRequests", "an event comes at a time or after a number of requests: remove at or afterRequests")
	case after:
		checkRange(c.p, c.path+".afterRequests", c.event.AfterRequests, 1, maxAfterSent)
	case !at:
		c.add("at", "missing: write when, such as at: 2s, or afterRequests: 1000")
	case c.event.At < 0:
		c.add("at", "%s is before the start", c.event.At)
	case longest == 0 && c.event.At > maxEventAt:
		c.add("at", "%s is out of range: 0s to %s", c.event.At, shortDuration(maxEventAt))
	case longest == 0:
		c.add("at", "events at a time need a client that runs for a time: give one a duration instead of requests, or write afterRequests instead of at")
	case c.event.At >= longest:
		c.add("at", "%s is after the end: the longest client runs for %s", c.event.At, longest)
	}
}

// action looks at what is done.
func (c *eventCheck) action() {
	var given []string
	for _, a := range eventActions() {
		if c.has(a) {
			given = append(given, a)
		}
	}
	switch len(given) {
	case 0:
		c.p.add(c.path, "says not what is done: write one of %s, such as scale: 12", strings.Join(eventActions(), ", "))
		return
	case 1:
	default:
		c.add(given[1], "an event does one thing, this one %s: make one event of each, at the same time if need be", joinWords(given))
		return
	}
	c.one(given[0])
}

// one looks at the one action.
func (c *eventCheck) one(action string) {
	switch e := c.event; action {
	case "scale":
		c.scale()
	case "restart":
		c.onlyTrue("restart", e.Restart)
	case "swap":
		c.onlyTrue("swap", e.Swap)
		if c.s.Spec.Echo.Standby == 0 {
			c.add("swap", "there are no pods to swap in: write spec.echo.standby, such as standby: 3")
		}
	case "deletePod":
		if e.DeletePod != nil {
			c.pod("deletePod", *e.DeletePod)
		}
	case "readiness":
		c.readiness()
	case "label":
		c.label()
	case "slow":
		c.slow()
	case "patchService":
		if e.PatchService != nil {
			c.patch(e.PatchService)
		}
	default:
		c.node(action)
	}
}

// onlyTrue refuses a switch that is off: it would do nothing.
func (c *eventCheck) onlyTrue(field string, on bool) {
	if !on {
		c.add(field, "false does nothing: write %s: true, or remove the event", field)
	}
}

func (c *eventCheck) scale() {
	if c.event.Scale == nil {
		c.add("scale", "write the number of pods to scale to, such as scale: 12")
		return
	}
	checkRange(c.p, c.path+".scale", *c.event.Scale, 0, maxReplicas)
	if c.p.src.has("spec.echo.placement") {
		c.add("scale", "pods of a placement cannot be scaled: write spec.echo.replicas instead of placement")
	}
}

// pod looks at the number of a pod.
func (c *eventCheck) pod(field string, n int) {
	if n < 0 || n >= c.pods {
		c.add(field, "there is no pod %d: the numbers of %d pods are 0 to %d", n, c.pods, c.pods-1)
	}
}

// need notes a field that an action cannot do without.
func (c *eventCheck) need(field, example string) {
	if !c.has(field) {
		c.add(field, "missing: write %s", example)
	}
}

func (c *eventCheck) readiness() {
	c.need("readiness.pod", "which pod, such as pod: 0")
	c.need("readiness.ready", "ready: false to have its probe fail, or ready: true")
	if c.event.Readiness != nil {
		c.pod("readiness.pod", c.event.Readiness.Pod)
	}
}

func (c *eventCheck) label() {
	c.need("label.pod", "which pod, such as pod: 0")
	c.need("label.selected", "selected: false to take the label away, or selected: true")
	if c.event.Label != nil {
		c.pod("label.pod", c.event.Label.Pod)
	}
}

func (c *eventCheck) slow() {
	c.need("slow.pod", "which pod, such as pod: 0")
	c.need("slow.delay", "how long it waits before each answer, such as delay: 50ms")
	if c.event.Slow != nil {
		c.pod("slow.pod", c.event.Slow.Pod)
		checkDuration(c.p, c.path+".slow.delay", c.event.Slow.Delay, 0, maxPodDelay)
	}
}

// patch looks at changed settings as at those of a Service.
func (c *eventCheck) patch(patch *ServicePatch) {
	const field = "patchService"
	svc := c.service(patch.Service)
	if svc == nil {
		names := c.services()
		c.add(field+".service", "there is no Service %q: %s", patch.Service, instead(patch.Service, names))
		return
	}
	at := c.path + "." + field
	if patch.SessionAffinity == "" && patch.SessionAffinityConfig == nil && patch.ExternalTrafficPolicy == "" &&
		patch.InternalTrafficPolicy == "" && patch.TrafficDistribution == "" {
		c.p.add(at, "changes nothing: write a setting, such as internalTrafficPolicy: Local")
	}
	sessionAffinities().check(c.p, at+".sessionAffinity", patch.SessionAffinity)
	trafficPolicies().check(c.p, at+".externalTrafficPolicy", patch.ExternalTrafficPolicy)
	trafficPolicies().check(c.p, at+".internalTrafficPolicy", patch.InternalTrafficPolicy)
	distributions := trafficDistributions()
	distributions.built = append(distributions.built, "none")
	distributions.check(c.p, at+".trafficDistribution", patch.TrafficDistribution)
	if patch.ExternalTrafficPolicy != "" && !hasNodePort(svc.Type) {
		c.p.add(at+".externalTrafficPolicy", "a Service of type ClusterIP has no external traffic: write spec.service.type: NodePort, or use internalTrafficPolicy")
	}
	c.patchAffinity(at, svc, patch)
}

func (c *eventCheck) patchAffinity(at string, svc *Service, patch *ServicePatch) {
	affinity := cmp.Or(patch.SessionAffinity, svc.SessionAffinity)
	if svc.ClusterIP == "None" && patch.SessionAffinity == "ClientIP" {
		c.p.add(at+".sessionAffinity", "has no effect on a headless Service, which no kube-proxy handles: remove it")
	}
	if patch.SessionAffinityConfig == nil {
		return
	}
	if affinity != "ClientIP" {
		c.p.add(at+".sessionAffinityConfig", "has no effect without sessionAffinity: ClientIP: add that, or remove this")
		return
	}
	checkRange(c.p, at+".sessionAffinityConfig.clientIP.timeoutSeconds", patch.SessionAffinityConfig.ClientIP.TimeoutSeconds, 1, maxAffinitySeconds)
}

// service finds a Service of the scenario by its name; nil: there is none.
func (c *eventCheck) service(name string) *Service {
	if name == "" || name == serviceName(&c.s.Spec.Service) {
		return &c.s.Spec.Service
	}
	for i := range c.s.Spec.Services {
		if c.s.Spec.Services[i].Name == name {
			return &c.s.Spec.Services[i]
		}
	}
	return nil
}

func (c *eventCheck) services() []string {
	out := []string{serviceName(&c.s.Spec.Service)}
	for i := range c.s.Spec.Services {
		out = append(out, c.s.Spec.Services[i].Name)
	}
	return out
}

// node looks at the name of a node.
func (c *eventCheck) node(action string) {
	name := eventNodes(c.event)[action]
	if action == "restartKubeProxy" && name == allNodes {
		return
	}
	if name == "" {
		more := ""
		if action == "restartKubeProxy" {
			more = ", or all"
		}
		c.add(action, "write the name of a node%s", more)
		return
	}
	checkNodeName(c.p, c.path+"."+action, name)
	switch action {
	case "killNode":
		c.standsOn(name)
	case "uncordon":
		c.cordonedBefore(name)
	}
}

// cordonedBefore refuses to uncordon a node that the scenario does not cordon: who else has cordoned it had a reason.
func (c *eventCheck) cordonedBefore(node string) {
	for i := range c.s.Spec.Events {
		if e := &c.s.Spec.Events[i]; e.Cordon == node || e.Drain == node {
			return
		}
	}
	c.add("uncordon", "no event cordons %s: write cordon: %s in an event before this one, or remove it", node, node)
}

// standsOn refuses to kill the node of a client: its results would go with it.
func (c *eventCheck) standsOn(node string) {
	for i := range c.s.Spec.Clients {
		client := &c.s.Spec.Clients[i]
		if client.Node == node {
			c.add("killNode", "client %s stands on %s, and what it measured would die with it: let it stand elsewhere", client.Name, node)
		}
	}
}

// allNodes is what restartKubeProxy says for every node.
const allNodes = "all"

// eventNodes are the nodes that an event names, by its field; fields that are not set are left out.
func eventNodes(e *Event) map[string]string {
	out := map[string]string{
		"cordon": e.Cordon, "uncordon": e.Uncordon, "drain": e.Drain, "killNode": e.KillNode, "restartKubeProxy": e.RestartKubeProxy,
	}
	maps.DeleteFunc(out, func(_, node string) bool { return node == "" })
	return out
}

// checkEventNodes calls check with each node that events name, in their order.
func checkEventNodes(s *Scenario, check func(path, node string)) {
	for i := range s.Spec.Events {
		named := eventNodes(&s.Spec.Events[i])
		for _, action := range slices.Sorted(maps.Keys(named)) {
			if action == "restartKubeProxy" && named[action] == allNodes {
				continue
			}
			check(fmt.Sprintf("spec.events[%d].%s", i, action), named[action])
		}
	}
}
