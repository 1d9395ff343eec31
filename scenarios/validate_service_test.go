package scenarios

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wholeSpec is a file with this spec.
func wholeSpec(spec string) string {
	return "apiVersion: podskew.dev/v1alpha1\nkind: Scenario\nmetadata: {name: x}\nspec:\n" + spec
}

const twoServices = `
  echo: {placement: {worker: 2, worker2: 1}}
  service: {type: NodePort}
  services:
    - {name: local, type: NodePort, externalTrafficPolicy: Local}
    - {name: nobody, endpoints: none}
    - {name: names, clusterIP: None}
`

func TestServicesBesidesTheFirst(t *testing.T) {
	s, err := Load("x.yaml", []byte(wholeSpec(twoServices+`
  sharePods: true
  clients:
    - {name: a, connections: 1, requests: 1}
    - {name: b, service: local, target: nodePort, vantage: node, targetNodes: [localhost, worker2], connections: 2, requests: 2}
    - {name: c, service: nobody, connections: 1, requests: 1}
    - {name: d, service: names, target: headless, connections: 1, requests: 1}
    - {name: e, service: echo, inEcho: true, connections: 1, requests: 1}
`)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"echo", "local", "nobody", "names"}, ServiceNames(s)); diff != "" {
		t.Error(diff)
	}
	local := s.Spec.Services[0]
	if local.SessionAffinity != "None" || local.InternalTrafficPolicy != "Cluster" || s.Spec.Services[1].Type != "ClusterIP" {
		t.Errorf("without their defaults: %+v", s.Spec.Services)
	}
	if n := s.Spec.Clients[4].Count; n != 3 {
		t.Errorf("%d clients in 3 echo pods", n)
	}
	if err := ValidateNodes(s, []string{"worker", "worker2"}); err != nil {
		t.Errorf("localhost is taken for the name of a node: %v", err)
	}
}

func TestServicesThatCannotBe(t *testing.T) {
	const client = "\n    - {name: web, connections: 1, requests: 1"
	for name, row := range map[string]struct{ spec, path, message string }{
		"without a name":             {"  services: [{}]\n  clients:" + client + "}", "spec.services[0].name", "missing"},
		"twice the same name":        {"  services: [{name: echo}]\n  clients:" + client + ", service: echo}", "spec.services[0].name", "another Service already"},
		"a name that runs need":      {"  services: [{name: canary}]\n  clients:" + client + ", service: canary}", "spec.services[0].name", "podskew makes itself"},
		"no name of an object":       {"  service: {name: Echo_}\n  clients:" + client + "}", "spec.service.name", "DNS label"},
		"that nobody dials":          {"  services: [{name: a}]\n  clients:" + client + "}", "spec.services[0]", "no client dials it"},
		"that is not there":          {"  services: [{name: local}]\n  clients:" + client + ", service: locla}\n    - {name: b, service: local, connections: 1, requests: 1}", "spec.clients[0].service", `did you mean local?`},
		"with endpoints of a kind":   {"  service: {endpoints: some}\n  clients:" + client + "}", "spec.service.endpoints", "not known"},
		"a policy without traffic":   {"  services: [{name: a, externalTrafficPolicy: Local}]\n  clients:" + client + ", service: a}", "spec.services[0].externalTrafficPolicy", "no external traffic"},
		"no node port":               {"  service: {type: NodePort}\n  services: [{name: a}]\n  clients:" + client + ", service: a, target: nodePort}", "spec.clients[0].target", "spec.services[0].type: NodePort"},
		"no load balancer":           {"  services: [{name: a}]\n  clients:" + client + ", service: a, target: loadBalancer}", "spec.clients[0].target", "spec.services[0].type: LoadBalancer"},
		"no cluster IP":              {"  services: [{name: a, clusterIP: None}]\n  clients:" + client + ", service: a}", "spec.clients[0].target", "spec.services[0].clusterIP"},
		"no pods to dial":            {"  services: [{name: a, endpoints: none}]\n  clients:" + client + ", service: a, target: podIP}", "spec.clients[0].target", "selects no pods"},
		"localhost from a pod":       {"  service: {type: NodePort}\n  clients:" + client + ", target: nodePort, targetNodes: [localhost]}", "spec.clients[0].targetNodes[0]", "vantage: node"},
		"localhost from outside":     {"  service: {type: NodePort}\n  clients:" + client + ", target: nodePort, vantage: external, targetNodes: [localhost]}", "spec.clients[0].targetNodes[0]", "vantage: node"},
		"an affinity that is no key": {"  services: [{name: a, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}}]\n  clients:" + client + ", service: a}", "spec.services[0].sessionAffinityConfig", "no effect"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, row.spec, row.path, row.message) })
	}
}

func TestClientsInEchoPodsThatCannotBe(t *testing.T) {
	const client = "  clients:\n    - {name: web, inEcho: true, connections: 1, duration: 5s"
	for name, row := range map[string]struct{ spec, path, message string }{
		"on a node's network":        {client + ", vantage: node}", "spec.clients[0].inEcho", "vantage: pod"},
		"on a node that is named":    {client + ", node: worker}", "spec.clients[0].node", "spec.echo.placement"},
		"more than there are pods":   {client + ", count: 2}", "spec.clients[0].count", "2 clients in 3 echo pods"},
		"dialling pods":              {client + ", target: podIP}", "spec.clients[0].target", "before their addresses are known"},
		"while pods come":            {client + "}\n  events: [{at: 1s, scale: 9}]", "spec.events[0].scale", "inside the echo pods"},
		"while pods are replaced":    {client + "}\n  events: [{at: 1s, restart: true}]", "spec.events[0].restart", "inside the echo pods"},
		"while a pod is deleted":     {client + "}\n  events: [{at: 1s, deletePod: 0}]", "spec.events[0].deletePod", "inside the echo pods"},
		"while a node is drained":    {client + "}\n  events: [{at: 1s, drain: worker}]", "spec.events[0].drain", "inside the echo pods"},
		"while a node loses power":   {client + "}\n  events: [{at: 1s, killNode: worker}]", "spec.events[0].killNode", "inside the echo pods"},
		"behind a gateway they feed": {client + ", target: gateway}\n  gateway: {proxy: caddy, upstream: pods}", "spec.clients[0].inEcho", "upstream: service"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, row.spec, row.path, row.message) })
	}
	spec := client + "}\n  events: [{at: 1s, patchService: {internalTrafficPolicy: Local}}]"
	if _, err := Load("x.yaml", []byte(wholeSpec(spec))); err != nil {
		t.Errorf("an event that takes no pod away is refused: %v", err)
	}
}

// refused fails unless a spec is refused at a path with words.
func refused(t *testing.T, spec, path, message string) {
	t.Helper()
	_, err := Load("x.yaml", []byte(wholeSpec(spec)))
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("accepted, or not even read: %v", err)
	}
	if !slices.ContainsFunc(invalid.Problems, func(p Problem) bool { return p.Path == path && strings.Contains(p.Message, message) }) {
		t.Errorf("nothing about %s saying %q:\n%v", path, message, err)
	}
}
