package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// Path is one way through the cluster, from clients on one node, or outside, to one address, beside what kube-proxy's rules
// make of it.
type Path struct {
	Stream    string  `json:"stream"`
	Vantage   string  `json:"vantage"`
	InEcho    bool    `json:"inEcho,omitempty"` // the clients are inside the pods that answer
	From      string  `json:"from"`             // the client's node; "" on none
	Service   string  `json:"service"`
	Target    string  `json:"target"`
	To        string  `json:"to,omitempty"` // nodePort: the node, or 127.0.0.1 of the client's own
	Address   string  `json:"address"`
	Setting   string  `json:"setting,omitempty"` // field of the Service that decides here: internalTrafficPolicy or externalTrafficPolicy
	Policy    string  `json:"policy,omitempty"`  // its value
	InForce   string  `json:"inForce,omitempty"` // the policy that is applied: Cluster, Local or bypassed; "" no kube-proxy decides
	Reachable int     `json:"reachable"`         // pods that the rules let it reach
	Expected  PathEnd `json:"expected"`
	Measured  PathEnd `json:"measured"`
	// Deviations are sentences: where the two differ beyond chance. Empty: nowhere.
	Deviations []string `json:"deviations,omitempty"`
}

// PathEnd is what becomes of connections.
type PathEnd struct {
	Outcome     string                   `json:"outcome"`               // answer, timeout, refused, dns, another kind of error, mixed, none or unknown
	Reason      string                   `json:"reason,omitempty"`      // expected: which rule
	Connections int                      `json:"connections,omitempty"` // measured: opened or tried
	Answered    int                      `json:"answered,omitempty"`    // of these
	Errors      map[record.ErrorKind]int `json:"errors,omitempty"`
	Sources     []PathSource             `json:"sources,omitempty"`  // whose addresses the pods see, most frequent first
	Backends    map[string]int           `json:"backends,omitempty"` // measured: answered requests by pod
	Nodes       map[string]int           `json:"nodes,omitempty"`    // measured: the same by the pods' nodes
}

// PathSource is a class of addresses that pods see as the client.
type PathSource struct {
	Class     string   `json:"class"`
	Share     float64  `json:"share"`               // of answered requests, measured or expected
	Addresses []string `json:"addresses,omitempty"` // measured
	Itself    bool     `json:"itself,omitempty"`    // only where a pod reaches itself
}

// pathsFrom is from how many streams on a report says of each where it leads; from two Services on it does so in any case.
const pathsFrom = 3

// missedBelow is how improbable it has to be that chance passes a pod by, for a path that never led to it to count as a deviation.
const missedBelow = 1e-6

// pathsOf lists the paths of a run with several Services or streams, in the order of Services, streams and addresses.
func pathsOf(rec *record.Record, subjects []*subject) []Path {
	services := map[string]int{}
	for _, s := range subjects {
		if s.plan.Target == "url" {
			return nil
		}
		if _, seen := services[s.plan.Service]; !seen {
			services[s.plan.Service] = len(services)
		}
	}
	if len(subjects) < pathsFrom && len(services) < 2 {
		return nil
	}
	for i := range rec.Facts.Services {
		services[rec.Facts.Services[i].Name] = i - len(rec.Facts.Services) // in the order of the facts, where they know them
	}
	var out []Path
	for _, s := range subjects {
		out = append(out, s.paths()...)
	}
	slices.SortStableFunc(out, func(a, b Path) int { return cmp.Compare(services[a.Service], services[b.Service]) })
	return out
}

// paths are those of one stream: what its clients on one node have in common at one address.
func (t *traffic) paths() []Path {
	type key struct{ from, address string }
	byKey := map[key][]*stratum{}
	var order []key
	for _, s := range t.strata {
		k := key{s.agent.Node, s.addr.HostPort}
		if byKey[k] == nil {
			order = append(order, k)
		}
		byKey[k] = append(byKey[k], s)
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(t.place(a.address), t.place(b.address)))
	})
	var out []Path
	for _, k := range order {
		out = append(out, t.pathOf(byKey[k]))
	}
	return out
}

// place is an address's place among those of the stream.
func (t *traffic) place(address string) int {
	return slices.IndexFunc(t.plan.Addresses, func(a record.Address) bool { return a.HostPort == address })
}

func (t *traffic) pathOf(strata []*stratum) Path {
	first := strata[0]
	p := Path{
		Stream: t.name, Vantage: t.plan.Vantage, From: first.agent.Node, Service: t.plan.Service, Target: t.plan.Target, To: first.addr.Node,
		Address: first.addr.HostPort, InForce: string(first.at.Policy),
	}
	if pod := t.now.pods[first.agent.Name]; pod != nil {
		p.InEcho = pod.Role == "echo"
	}
	if ip := hostOf(p.Address); p.To == "" && ip.IsLoopback() {
		p.To = ip.String()
	}
	p.Setting, p.Policy = t.setting()
	p.Expected, p.Reachable = expectedEnd(strata)
	p.Measured = t.measuredEnd(strata)
	p.Deviations = t.deviations(strata, p)
	return p
}

// setting is the field of the Service that decides for a stream, and its value.
func (t *traffic) setting() (field, value string) {
	s := findService(t.facts, t.plan.Service)
	switch {
	case s == nil, s.Headless, t.plan.Target == "podIP", t.plan.Target == "gateway", t.mesh() != nil:
		return "", ""
	case t.plan.Target == "clusterIP":
		return "internalTrafficPolicy", s.InternalTrafficPolicy
	}
	return "externalTrafficPolicy", s.ExternalTrafficPolicy
}

// expectedEnd is what the rules make of a path, its clients weighed by their connections.
func expectedEnd(strata []*stratum) (end PathEnd, reachable int) {
	end = PathEnd{Outcome: string(strata[0].at.Outcome), Reason: strata[0].at.Reason}
	pods := map[string]bool{}
	type source struct {
		class  SourceClass
		itself bool
	}
	weights, total := map[source]float64{}, 0.0
	for _, s := range strata {
		if string(s.at.Outcome) != end.Outcome {
			end.Outcome = "mixed"
		}
		n := float64(max(s.opened, 1))
		for _, b := range s.at.Backends {
			pods[b.Pod] = true
			weights[source{b.Source, b.Pod == s.agent.Name}] += n * b.P
			total += n * b.P
		}
	}
	for k, w := range weights {
		end.Sources = append(end.Sources, PathSource{Class: string(k.class), Share: w / total, Itself: k.itself})
	}
	sortSources(end.Sources)
	return end, len(pods)
}

func sortSources(list []PathSource) {
	slices.SortFunc(list, func(a, b PathSource) int {
		return cmp.Or(cmp.Compare(digits(b.Share), digits(a.Share)), cmp.Compare(a.Class, b.Class), compareBool(a.Itself, b.Itself))
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// measuredEnd is what became of a path.
func (t *traffic) measuredEnd(strata []*stratum) PathEnd {
	end := PathEnd{Errors: map[record.ErrorKind]int{}, Backends: map[string]int{}, Nodes: map[string]int{}}
	type source struct {
		class  SourceClass
		itself bool
	}
	requests, addresses, total := map[source]int{}, map[source]map[string]bool{}, 0
	for _, s := range strata {
		end.Connections += s.opened
		end.Answered += s.known
		s.addErrors(end.Errors)
		for k, n := range s.sources {
			class, _ := classify(t.facts, t.plan, s.agent, s.addr, k.observed)
			id := source{class, k.pod == s.agent.Name}
			if addresses[id] == nil {
				addresses[id] = map[string]bool{}
			}
			requests[id] += n
			total += n
			addresses[id][k.observed] = true
		}
		for pod, a := range s.answered {
			end.Backends[pod] += a.requests
			end.Nodes[t.nodeOf(pod)] += a.requests
		}
	}
	maps.DeleteFunc(end.Errors, func(_ record.ErrorKind, n int) bool { return n == 0 })
	for id, n := range requests {
		if n > 0 {
			end.Sources = append(end.Sources, PathSource{Class: string(id.class), Share: float64(n) / float64(total), Itself: id.itself,
				Addresses: slices.Sorted(maps.Keys(addresses[id]))})
		}
	}
	sortSources(end.Sources)
	end.Outcome = end.outcome()
	return end
}

// outcome names what became of most connections if it is the same of all, or the kind of failure if all failed.
func (e *PathEnd) outcome() string {
	switch {
	case e.Connections == 0:
		return "none"
	case e.Answered == e.Connections && len(e.Errors) == 0:
		return string(Answer)
	case e.Answered > 0:
		return "mixed"
	}
	kinds := slices.SortedFunc(maps.Keys(e.Errors), func(a, b record.ErrorKind) int {
		return cmp.Or(cmp.Compare(e.Errors[b], e.Errors[a]), cmp.Compare(a, b))
	})
	if len(kinds) == 0 {
		return "none" // still on their way when the run ended
	}
	if len(kinds) > 1 {
		return "mixed"
	}
	return string(kinds[0])
}

// deviations says where a path was not as the rules have it.
func (t *traffic) deviations(strata []*stratum, p Path) []string {
	if p.Expected.Outcome == string(Unknown) || p.Measured.Outcome == "none" {
		return nil
	}
	var out []string
	if p.Measured.Outcome != p.Expected.Outcome && !saidNoNowAndThen(&p) {
		out = append(out, fmt.Sprintf("%s instead of %s (%s)", p.Measured.words(), outcomeWords(p.Expected.Outcome), p.Expected.Reason))
	}
	strange, foreign := map[string]int{}, map[string]bool{}
	for _, s := range strata {
		for k, n := range s.sources {
			class, _ := classify(t.facts, t.plan, s.agent, s.addr, k.observed)
			if s.eligible[k.pod] && !s.expects(k.pod, class) && !t.changed {
				strange[fmt.Sprintf("%s (%s) instead of %s", class, k.observed, s.sourceClass(k.pod))] += n
			}
		}
		for _, pod := range s.strangers() {
			foreign[pod] = true
		}
	}
	for _, what := range sortedKeys(strange) {
		out = append(out, fmt.Sprintf("in %s the pods saw %s", plural(strange[what], "answer", "answers"), what))
	}
	if len(foreign) > 0 {
		out = append(out, "answered by pods that the rules do not let it reach: "+listed(sortedKeys(foreign)))
	}
	if missed := t.passedBy(strata); len(missed) > 0 {
		out = append(out, "never reached, though the rules let it: "+listed(missed))
	}
	return out
}

// saidNoNowAndThen reports whether a path was refused as often as the kernel says so: it sends a client no more than about one
// "port unreachable" a second (net.ipv4.icmp_ratelimit), and dials in between wait until they try again.
func saidNoNowAndThen(p *Path) bool {
	if p.Expected.Outcome != string(Refused) || p.Measured.Answered > 0 || p.Measured.Errors[record.ErrRefused] == 0 {
		return false
	}
	for kind := range p.Measured.Errors {
		if kind != record.ErrRefused && kind != record.ErrTimeout {
			return false
		}
	}
	return true
}

// passedBy lists the pods that a path never led to although chance cannot have passed them by.
func (t *traffic) passedBy(strata []*stratum) []string {
	never, left := map[string]float64{}, map[string]bool{}
	for _, s := range strata {
		if !ofConnections(s.at.Unit) || s.at.Untested != "" || t.changed || s.at.Outcome != Answer {
			return nil
		}
		for _, b := range s.at.Backends {
			if _, seen := never[b.Pod]; !seen {
				never[b.Pod] = 1
			}
			never[b.Pod] *= math.Pow(1-b.P, float64(s.known))
			left[b.Pod] = left[b.Pod] || s.answered[b.Pod] != nil
		}
	}
	var out []string
	for _, pod := range sortedKeys(never) {
		if !left[pod] && never[pod] < missedBelow {
			out = append(out, pod)
		}
	}
	return out
}

// words says in a clause what became of the connections.
func (e *PathEnd) words() string {
	if e.Outcome != "mixed" {
		return outcomeWords(e.Outcome)
	}
	parts := []string{fmt.Sprintf("%d of %d connections answered", e.Answered, e.Connections)}
	for _, kind := range slices.Sorted(maps.Keys(e.Errors)) {
		parts = append(parts, fmt.Sprintf("%d %s", e.Errors[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// outcomeWords is an outcome as a clause has it.
func outcomeWords(outcome string) string {
	switch Outcome(outcome) {
	case Answer:
		return "answered"
	case Timeout:
		return "dropped"
	case Refused:
		return "refused"
	case NoAddress:
		return "no address under the name"
	default:
		return outcome
	}
}

// deviating counts the paths that are not as the rules have them.
func deviating(paths []Path) int {
	n := 0
	for i := range paths {
		if len(paths[i].Deviations) > 0 {
			n++
		}
	}
	return n
}
