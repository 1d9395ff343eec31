package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const eventful = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata: {name: base}
spec:
  echo: {replicas: 3, standby: 2, grace: 0s}
  service: {type: NodePort}
  services: [{name: other, type: ClusterIP}]
  clients:
    - {name: web, node: worker, connections: 4, duration: 20s}
    - {name: second, connections: 4, service: other, duration: 20s}
  events:
`

func TestEveryKindOfEvent(t *testing.T) {
	s, err := Load("x.yaml", []byte(eventful+`
    - {at: 0s, scale: 0}
    - {at: 1s, restart: true}
    - {at: 2s, deletePod: 4}
    - {at: 3s, readiness: {pod: 0, ready: false}}
    - {at: 4s, label: {pod: 1, selected: false}}
    - {at: 5s, swap: true}
    - {at: 6s, slow: {pod: 2, delay: 50ms}}
    - {at: 7s, patchService: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}, externalTrafficPolicy: Local}}
    - {at: 8s, patchService: {service: other, internalTrafficPolicy: Local, trafficDistribution: none}}
    - {at: 9s, cordon: worker2}
    - {at: 10s, uncordon: worker2}
    - {at: 11s, drain: worker2}
    - {at: 12s, killNode: worker3}
    - {afterRequests: 100, restartKubeProxy: all}
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load("again.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(s.Spec.Events, again.Spec.Events); diff != "" {
		t.Errorf("written and read again (-want +got):\n%s", diff)
	}
	if n := len(s.Spec.Events); n != len(eventActions())+1 {
		t.Errorf("%d events for %d actions", n, len(eventActions()))
	}
	want := Event{At: 6 * time.Second, Slow: &Slow{Pod: 2, Delay: 50 * time.Millisecond}}
	if diff := cmp.Diff(want, s.Spec.Events[6]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.Spec.Echo.Grace == nil || *s.Spec.Echo.Grace != 0 {
		t.Errorf("grace %v", s.Spec.Echo.Grace)
	}
}

func TestEventsThatCannotBe(t *testing.T) {
	const at = "spec.events[0]"
	for name, row := range map[string]struct{ event, path, message string }{
		"never":                                {"{scale: 1}", at + ".at", "write when, such as at: 2s, or afterRequests: 1000"},
		"twice":                                {"{at: 1s, afterRequests: 1, scale: 1}", at + ".afterRequests", "remove at or afterRequests"},
		"after no request":                     {"{afterRequests: 0, scale: 1}", at + ".afterRequests", "0 is out of range: 1 to"},
		"after the end":                        {"{at: 20s, scale: 1}", at + ".at", "the longest client runs for 20s"},
		"nothing":                              {"{at: 1s}", at, "write one of scale, restart"},
		"two things":                           {"{at: 1s, scale: 2, swap: true}", at + ".swap", "make one event of each"},
		"a scale to fewer than none":           {"{at: 1s, scale: -1}", at + ".scale", "0 to 1000"},
		"a scale to nothing":                   {"{at: 1s, scale: }", at, "write one of scale"},
		"no restart":                           {"{at: 1s, restart: false}", at + ".restart", "write restart: true"},
		"a pod that there is not":              {"{at: 1s, deletePod: 5}", at + ".deletePod", "the numbers of 5 pods are 0 to 4"},
		"a readiness of nobody":                {"{at: 1s, readiness: {ready: true}}", at + ".readiness.pod", "such as pod: 0"},
		"a readiness that is not said":         {"{at: 1s, readiness: {pod: 0}}", at + ".readiness.ready", "ready: false"},
		"a label that is not said":             {"{at: 1s, label: {pod: 0}}", at + ".label.selected", "selected: false"},
		"a label of nobody":                    {"{at: 1s, label: {pod: -1, selected: true}}", at + ".label.pod", "there is no pod -1"},
		"a delay that is too long":             {"{at: 1s, slow: {pod: 0, delay: 61s}}", at + ".slow.delay", "0s to 1m"},
		"a delay that is not said":             {"{at: 1s, slow: {pod: 0}}", at + ".slow.delay", "such as delay: 50ms"},
		"a patch of nothing":                   {"{at: 1s, patchService: {service: other}}", at + ".patchService", "changes nothing"},
		"a patch of an unknown Service":        {"{at: 1s, patchService: {service: othr, internalTrafficPolicy: Local}}", at + ".patchService.service", "did you mean other?"},
		"a patch to what is not known":         {"{at: 1s, patchService: {internalTrafficPolicy: local}}", at + ".patchService.internalTrafficPolicy", "did you mean Local?"},
		"a patch that the Service cannot have": {"{at: 1s, patchService: {service: other, externalTrafficPolicy: Local}}", at + ".patchService.externalTrafficPolicy", "no external traffic"},
		"a timeout without affinity":           {"{at: 1s, patchService: {sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}}}", at + ".patchService.sessionAffinityConfig", "has no effect without"},
		"a timeout out of range":               {"{at: 1s, patchService: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}}", at + ".patchService.sessionAffinityConfig.clientIP.timeoutSeconds", "1 to 86400"},
		"a node that nothing is called":        {"{at: 1s, cordon: Worker_2}", at + ".cordon", "cannot be the name of a node"},
		"a node without a name":                {"{at: 1s, drain: ''}", at + ".drain", "the name of a node"},
		"kube-proxy nowhere":                   {"{at: 1s, restartKubeProxy: ''}", at + ".restartKubeProxy", "or all"},
		"an end of what did not begin":         {"{at: 1s, uncordon: worker2}", at + ".uncordon", "no event cordons worker2"},
		"the power of a client":                {"{at: 1s, killNode: worker}", at + ".killNode", "client web stands on worker"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("x.yaml", []byte(eventful+"    - "+row.event+"\n"))
			if err == nil || !strings.Contains(err.Error(), row.path+": ") || !strings.Contains(err.Error(), row.message) {
				t.Errorf("want something about %s saying %q, got:\n%v", row.path, row.message, err)
			}
		})
	}
}

func TestEventsThatTheRestOfTheScenarioForbids(t *testing.T) {
	for name, row := range map[string]struct{ old, now, event, message string }{
		"a swap without standby":     {", standby: 2", "", "{at: 1s, swap: true}", "write spec.echo.standby"},
		"a scale of a placement":     {"replicas: 3", "placement: {worker: 3}", "{at: 1s, scale: 4}", "write spec.echo.replicas instead"},
		"a time without a length":    {"duration: 20s", "requests: 5", "{at: 1s, scale: 4}", "write afterRequests instead of at"},
		"standby below zero":         {"standby: 2", "standby: -1", "{at: 1s, restart: true}", "spec.echo.standby: -1 is out of range"},
		"a grace that is too long":   {"grace: 0s", "grace: 11m", "{at: 1s, restart: true}", "0s to 10m"},
		"affinity of a headless one": {"type: NodePort", "clusterIP: None", "{at: 1s, patchService: {sessionAffinity: ClientIP}}", "has no effect on a headless Service"},

		"to settle for no time":               {"", "", "{at: 1s, restart: true}\n  settle: 0s", "spec.settle: 0s is out of range: 100ms to 1m"},
		"to settle for too long":              {"", "", "{at: 1s, restart: true}\n  settle: 61s", "spec.settle: 1m1s is out of range: 100ms to 1m"},
		"to settle with a count":              {"service: other, duration: 20s", "service: other, requests: 5", "{at: 1s, restart: true}\n  settle: 1s", "spec.clients[1].requests: with spec.settle"},
		"a window from two times":             {"", "", "{at: 1s, restart: true}\n  expect: [{metric: requests, above: 1, from: 1s, fromEffective: 1s}]", "remove from, or it"},
		"a window that ends before the event": {"", "", "{at: 1s, restart: true}\n  expect: [{metric: requests, above: 1, fromEffective: 1s, to: 2s}]", "remove to, or it"},
		"a window before the event":           {"", "", "{at: 1s, restart: true}\n  expect: [{metric: requests, above: 1, fromEffective: -1s}]", "-1s is out of range"},
		"a finding after the event":           {"", "", "{at: 1s, restart: true}\n  expect: [{finding: Balanced, fromEffective: 1s}]", "a finding is about the whole run"},
		"a balance after the event":           {"", "", "{at: 1s, restart: true}\n  expect: [{metric: timeToBalance, below: 5, fromEffective: 1s}]", "timeToBalance is about the whole run"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(eventful, row.old, row.now) + "    - " + row.event + "\n"
			if _, err := Load("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), row.message) {
				t.Errorf("want %q, got:\n%v", row.message, err)
			}
		})
	}
	still := expecting("{metric: requests, above: 1}", "  settle: 1s")
	if _, err := Load("x.yaml", []byte(still)); err == nil || !strings.Contains(err.Error(), "spec.settle: it counts from the last event, and there is none") {
		t.Errorf("got %v", err)
	}
	many := eventful + strings.Repeat("    - {at: 1s, restart: true}\n", maxEvents+1)
	if _, err := Load("x.yaml", []byte(many)); err == nil || !strings.Contains(err.Error(), "101 events: at most 100") {
		t.Errorf("got %v", err)
	}
}

func TestNodesOfEventsHaveToBeThere(t *testing.T) {
	s, err := Load("x.yaml", []byte(eventful+"    - {at: 1s, drain: worker2}\n    - {at: 2s, restartKubeProxy: all}\n"))
	if err != nil {
		t.Fatal(err)
	}
	err = ValidateNodes(s, []string{"worker", "worker3"})
	if err == nil || !strings.Contains(err.Error(), `spec.events[0].drain: there is no node "worker2"`) || strings.Contains(err.Error(), "restartKubeProxy") {
		t.Errorf("got %v", err)
	}
}
