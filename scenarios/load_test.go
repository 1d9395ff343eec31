package scenarios

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// scenario returns a valid file with replacements made in it, in pairs of old and new.
func scenario(t *testing.T, replace ...string) string {
	t.Helper()
	text := valid
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("the valid scenario does not contain %q", replace[i])
		}
		text = strings.Replace(text, replace[i], replace[i+1], 1)
	}
	return text
}

const valid = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata:
  name: base
spec:
  echo:
    replicas: 6
  service:
    type: NodePort
  clients:
    - name: web
      connections: 4
      duration: 5s
    - name: outside
      vantage: external
      target: nodePort
      connections: 12
      requests: 600
  events:
    - {at: 2s, scale: 12}
  expect:
    - finding: Balanced
    - {metric: maxOverMean, stream: web, above: 1.4}
`

func TestLoadFillsInDefaults(t *testing.T) {
	got, err := Load("base.yaml", []byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	want := &Scenario{
		APIVersion: APIVersion, Kind: Kind, Metadata: Metadata{Name: "base"},
		Spec: Spec{
			Echo: Echo{Replicas: 6},
			Service: Service{
				Type: "NodePort", SessionAffinity: "None", ExternalTrafficPolicy: "Cluster", InternalTrafficPolicy: "Cluster",
			},
			Clients: []Client{
				{
					Name: "web", Vantage: VantagePod, Count: 1, Target: TargetClusterIP, Connections: 4, Duration: 5 * time.Second,
					ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second, Protocol: "http1",
				},
				{
					Name: "outside", Vantage: VantageExternal, Count: 1, Target: TargetNodePort, Connections: 12, Requests: 600,
					ConnectTimeout: 2 * time.Second, Timeout: 5 * time.Second, Protocol: "http1",
				},
			},
			Events: []Event{{At: 2 * time.Second, Scale: new(12)}},
			Expect: []Expect{{Finding: "Balanced"}, {Metric: "maxOverMean", Stream: "web", Above: new(1.4)}},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Scenario{})); diff != "" {
		t.Error(diff)
	}
}

func TestLoadFillsInWhatDependsOnOtherFields(t *testing.T) {
	got, err := Load("x.yaml", []byte(`{apiVersion: podskew.dev/v1alpha1, kind: Scenario, metadata: {name: x}, spec: {
  service: {sessionAffinity: ClientIP},
  clients: [{name: web, connections: 1, requests: 1}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := got.Spec.Echo.Replicas; n != 3 {
		t.Errorf("replicas %d, want 3", n)
	}
	if n := got.Spec.Service.SessionAffinityConfig.ClientIP.TimeoutSeconds; n != 10800 {
		t.Errorf("affinity timeout %d s, want 10800", n)
	}
	if p := got.Spec.Service.ExternalTrafficPolicy; p != "" {
		t.Errorf("external traffic policy %q on a ClusterIP Service, want none", p)
	}
}

// TestLoadErrors compares the whole text of errors with golden files, one per row.
func TestLoadErrors(t *testing.T) {
	web := "- name: web\n      connections: 4\n      duration: 5s\n"
	rows := []struct{ name, text string }{
		{"an unknown field names the nearest", scenario(t, "      connections: 4", "      conections: 4")},
		{"an unknown field with no near one lists all", scenario(t, "    replicas: 6", "    colour: red")},
		{"an image is not chosen here", scenario(t, "    replicas: 6", "    image: nginx")},
		{"a wrong type says which type is wanted", scenario(t, "connections: 4", "connections: many", "metadata:\n  name: base", "metadata: base", "expect:\n    - finding: Balanced", "expect:\n    - Balanced")},
		{"a list or mapping in the wrong place is named", scenario(t, "replicas: 6", "replicas: [6]", "name: web", "name: {a: b}", "  events:\n    - {at: 2s, scale: 12}\n", "  events: 3\n")},
		{"a quoted number is told to lose its quotes", scenario(t, "connections: 4", `connections: "4"`)},
		{"a number as a name is told to get quotes", scenario(t, "name: web", "name: 12", "stream: web, ", "")},
		{"a boolean as a name is told to get quotes", scenario(t, "name: web", "name: true", "stream: web, ", "")},
		{"a key given twice says where the first is", scenario(t, "      duration: 5s", "      duration: 5s\n      connections: 5")},
		{"a duration without a unit suggests units", scenario(t, "duration: 5s", "duration: 5")},
		{"a duration nobody can read shows the form", scenario(t, "duration: 5s", "duration: 5 seconds")},
		{"a number in another base is refused", scenario(t, "connections: 4", "connections: 0o10", "replicas: 6", "replicas: 010")},
		{"a number beyond any machine is refused", scenario(t, "connections: 4", "connections: 99999999999", "above: 1.4", "above: 1e999")},
		{"a fraction of a connection is refused", scenario(t, "connections: 4", "connections: 4.5")},
		{"not a number is no bound", scenario(t, "above: 1.4", "above: .nan")},
		{"an empty list item is refused", scenario(t, "    - finding: Balanced", "    -\n    - finding: Balanced")},
		{"a second document is refused", valid + "---\n" + valid},
		{"an empty file says how a scenario starts", "# nothing\n"},
		{"a list at the top says how a scenario starts", "- a\n- b\n"},
		{"anchors and aliases are refused", scenario(t, "replicas: 6", "replicas: &n 6", "connections: 4", "connections: *n")},
		{"a tag is refused", scenario(t, "replicas: 6", "replicas: !!int 6")},
		{"broken YAML has a place", scenario(t, "  service:\n    type: NodePort", "  service: {type: NodePort")},
		{"a control character has a place", scenario(t, "name: web", "name: \"w\x1b[31meb\"")},
		{"text that is not UTF-8 has a line", scenario(t, "name: web", "name: \xff\xfe")},
		{"a file that is too large is refused", strings.Repeat("#\n", 1<<19) + valid},
		{"nesting without end is refused", strings.Repeat("[", 500)},
		{"nesting of dashes is refused", strings.Repeat("- ", 500)},
		{"a flood of brackets is refused", strings.Repeat("[", 500_000)},
		{"a heap of keys is refused", strings.Repeat("a: b\n", 50_000)},
		{"a long line is cut around the place", scenario(t, "replicas: 6", "replicas: 6"+strings.Repeat(" ", 70)+"# "+strings.Repeat("x", 100), "    - finding: Balanced", "    - {"+strings.Repeat(" ", 100)+"finding: Balansed, stream: web}"+strings.Repeat(" ", 60)+"# end")},
		{"the head must be ours", scenario(t, "podskew.dev/v1alpha1", "v1", "kind: Scenario", "kind: Pod", "name: base", "name: Base_1")},
		{"what is required is missing", "apiVersion: podskew.dev/v1alpha1\nspec: {clients: [{target: clusterIP}]}\n"},
		{"no client at all", scenario(t, "  clients:\n    "+web, "  clients:\n", "    - name: outside\n      vantage: external\n      target: nodePort\n      connections: 12\n      requests: 600\n", "", "  events:\n    - {at: 2s, scale: 12}\n", "", ", stream: web", "")},
		{"placement and replicas exclude each other", scenario(t, "replicas: 6", "replicas: 6\n    placement: {worker: 1}", "    - {at: 2s, scale: 12}", "    []")},
		{"a placement places pods on nodes", scenario(t, "replicas: 6", "placement: {Worker: 1, a.B: 2, worker2: -1, worker3: 2000}", "    - {at: 2s, scale: 12}", "    []")},
		{"a placement without pods", scenario(t, "replicas: 6", "placement: {worker: 0}", "    - {at: 2s, scale: 12}", "    []")},
		{"a placement cannot be scaled", scenario(t, "replicas: 6", "placement: {worker: 1}")},
		{"counts are bounded", scenario(t, "replicas: 6", "replicas: 1001", "connections: 4", "connections: 0", "connections: 12", "connections: 100001", "requests: 600", "requests: 0", "scale: 12", "scale: -1")},
		{"connections are bounded in all", scenario(t, "connections: 4", "connections: 1000\n      count: 200")},
		{"clients are bounded in all", scenario(t, "connections: 4", "connections: 1\n      count: 1000")},
		{"an external policy needs external traffic", scenario(t, "type: NodePort", "type: ClusterIP\n    externalTrafficPolicy: Local")},
		{"a node port needs a Service with one", scenario(t, "type: NodePort", "type: ClusterIP")},
		{"names of types are exact", scenario(t, "type: NodePort", "type: nodeport\n    internalTrafficPolicy: local\n    sessionAffinity: clientIP\n    trafficDistribution: Closest")},
		{"a headless Service has no cluster IP", scenario(t, "type: NodePort", "type: ClusterIP\n    clusterIP: None\n    sessionAffinity: ClientIP", "target: nodePort", "target: headless")},
		{"a node port Service cannot be headless", scenario(t, "type: NodePort", "type: NodePort\n    clusterIP: None")},
		{"a cluster IP cannot be chosen", scenario(t, "type: NodePort", "type: NodePort\n    clusterIP: 10.96.0.10")},
		{"affinity settings need affinity", scenario(t, "type: NodePort", "type: NodePort\n    sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}")},
		{"the affinity timeout is bounded", scenario(t, "type: NodePort", "type: NodePort\n    sessionAffinity: ClientIP\n    sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}")},
		{"an affinity timeout of zero is refused", scenario(t, "type: NodePort", "type: NodePort\n    sessionAffinity: ClientIP\n    sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}")},
		{"a cluster IP cannot be dialled from outside", scenario(t, "      target: nodePort\n", "")},
		{"a gateway has to be described", scenario(t, "connections: 4", "connections: 4\n      target: gateway")},
		{"a headless target needs a headless Service", scenario(t, "connections: 4", "connections: 4\n      target: headless", "target: nodePort", "target: headless")},
		{"a load balancer needs a Service with one", scenario(t, "target: nodePort", "target: loadBalancer")},
		{"pods cannot be dialled from outside", scenario(t, "target: nodePort", "target: podIP\n      resolve: perRun")},
		{"protocols and policies are one of a set", scenario(t, "connections: 4", "connections: 4\n      protocol: gprc\n      poolPolicy: roundrobin\n      reconnect: later\n      arrivals: poisson\n      rates: []\n      grpcPolicy: roundRobin")},
		{"what only some protocols have", scenario(t, "connections: 4", "connections: 4\n      protocol: udp\n      tls: true\n      streamsPerConnection: 8\n      grpcPolicy: pick_first")},
		{"whether there is TLS is true or false", scenario(t, "connections: 4", "connections: 4\n      tls: 1", "requests: 600", "requests: 600\n      tls: yes")},
		{"streams are bounded", scenario(t, "connections: 4", "connections: 4\n      protocol: http2\n      streamsPerConnection: 0", "requests: 600", "requests: 600\n      protocol: grpc\n      streamsPerConnection: 1001")},
		{"resolving is one of a set", scenario(t, "type: NodePort", "clusterIP: None", "connections: 4", "connections: 4\n      target: headless\n      resolve: always\n      resolveOrder: last", "target: nodePort", "target: headless", "vantage: external", "vantage: node")},
		{"round robin over one address is none", scenario(t, "connections: 4", "connections: 4\n      protocol: grpc\n      grpcPolicy: round_robin")},
		{"gRPC resolves by itself", scenario(t, "type: NodePort", "clusterIP: None", "connections: 4", "connections: 4\n      target: headless\n      protocol: grpc\n      grpcPolicy: round_robin\n      resolve: perConnection", "target: nodePort", "target: headless", "vantage: external", "vantage: node")},
		{"the life of connections is bounded", scenario(t, "connections: 4", "connections: 4\n      connectionLifetime: 1ms\n      lifetimeJitter: 1.5\n      thinkTime: -1s\n      connectionsPerSecond: -2", "requests: 600", "requests: 600\n      lifetimeJitter: 0.1")},
		{"concurrency fits the connections", scenario(t, "connections: 4", "connections: 4\n      concurrency: 5", "requests: 600", "requests: 600\n      concurrency: 3")},
		{"only one protocol has a pool", scenario(t, "connections: 4", "connections: 4\n      protocol: grpc\n      concurrency: 2\n      poolPolicy: mru")},
		{"a connection of one request has no life", scenario(t, "connections: 4", "connections: 4\n      requestsPerConnection: 1\n      connectionLifetime: 1s\n      connectionsPerSecond: 2.5\n      thinkTime: 1s", "requests: 600", "requests: 600\n      poolPolicy: lru\n      thinkTime: 1s")},
		{"a rate of zero never ends", scenario(t, "requests: 600", "requests: 600\n      rate: 10\n      rates: [{at: 1s, rate: 0}]")},
		{"an open loop has its own schedule", scenario(t, "connections: 4", "connections: 4\n      rate: 100\n      concurrency: 2\n      thinkTime: 10ms", "requests: 600", "requests: 600\n      rate: 2000000")},
		{"changes of rate stand in order of time", scenario(t, "connections: 4", "connections: 4\n      rate: 100\n      rates: [{at: 2s, rate: 200}, {at: 1s, rate: -1}, {at: 5s, ramp: true}, {rate: 3}]")},
		{"a part in proportion needs a number of requests", scenario(t, "connections: 4", "connections: 4\n      zipfExponent: 1", "requests: 600", "requests: 600\n      poolPolicy: lru\n      zipfExponent: 11")},
		{"a warm-up is bounded", scenario(t, "  clients:", "  warmUp: 61m\n  clients:")},
		{"arrivals need a rate", scenario(t, "connections: 4", "connections: 4\n      arrivals: poisson\n      rates: [{at: 2s, rate: 200}]")},
		{"source addresses are for clients outside", scenario(t, "connections: 4", "connections: 4\n      sourceAddresses: 2", "requests: 600", "requests: 600\n      sourceAddresses: 64")},
		{"source addresses are bounded", scenario(t, "connections: 4", "connections: 4\n      sourceAddresses: 0", "requests: 600", "requests: 600\n      sourceAddresses: 5000")},
		{"unknown targets and vantages list the known", scenario(t, "target: nodePort", "target: nodeport", "vantage: external", "vantage: outside")},
		{"a negative rate is refused", scenario(t, "connections: 4", "connections: 4\n      rate: -1")},
		{"target nodes need node ports", scenario(t, "connections: 4", "connections: 4\n      targetNodes: [worker]", "target: nodePort", "target: nodePort\n      targetNodes: [worker, worker, W]")},
		{"clients on one node's network share an address", scenario(t, "vantage: external", "vantage: external\n      node: external\n      count: 2")},
		{"a client needs an end", scenario(t, "      requests: 600\n", "")},
		{"requests and duration exclude each other", scenario(t, "requests: 600", "requests: 600\n      duration: 5s")},
		{"durations are bounded", scenario(t, "duration: 5s", "duration: 1ms\n      timeout: 0s\n      connectTimeout: 11m", "at: 2s", "at: 0s")},
		{"connections without requests", scenario(t, "requests: 600", "requests: 10")},
		{"a connection that is never used up", scenario(t, "requests: 600", "requests: 600\n      requestsPerConnection: 51")},
		{"a name is a DNS label and its own", scenario(t, "name: outside", "name: web", "name: web\n", "name: web\n", "name: base", "name: "+strings.Repeat("a", 64))},
		{"a client's name is short", scenario(t, "name: outside", "name: "+strings.Repeat("a", 41))},
		{"an event lies within the run", scenario(t, "    - {at: 2s, scale: 12}", "    - {at: 5s, scale: 12}\n    - {at: -1s, scale: 12}\n    - {}")},
		{"an event needs a run with a length", scenario(t, "duration: 5s", "requests: 50")},
		{"a finding code is one of ours", scenario(t, "finding: Balanced", "finding: Balansed\n    - noFinding: Pinning")},
		{"a metric is one of ours and has a bound", scenario(t, "metric: maxOverMean", "metric: maxovermean", "finding: Balanced", "metric: cv\n      stream: web")},
		{"a stream is a client that exists", scenario(t, "finding: Balanced", "finding: Balanced\n      stream: wbe")},
		{"an expectation is one thing", scenario(t, "finding: Balanced", "finding: Balanced\n      noFinding: ConnectionPinning\n    - stream: web")},
		{"bounds are possible", scenario(t, "finding: Balanced", "finding: Balanced\n      above: 1\n    - {metric: cv, stream: web, above: 2, below: 1}\n    - {metric: cv, stream: web, equals: 1, below: 2}")},
		{"expectations do not contradict each other", scenario(t, "finding: Balanced", "finding: Balanced\n    - noFinding: Balanced")},
		{"many problems are listed up to a bound", scenario(t, "    - finding: Balanced", strings.Repeat("    - finding: X\n", 60))},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := Load("x.yaml", []byte(row.text))
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Fatalf("got error %v, want an InvalidError", err)
			}
			golden(t, row.name, err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "errors", strings.NewReplacer(" ", "-", "'", "").Replace(name)+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadAcceptsUnusualButValidFiles(t *testing.T) {
	rows := []struct{ name, text string }{
		{"with a byte order mark", "\ufeff" + valid},
		{"with Windows line ends", strings.ReplaceAll(valid, "\n", "\r\n")},
		{"between document markers", "---\n" + valid + "---\n"},
		{"with empty optional parts", scenario(t, "  events:\n    - {at: 2s, scale: 12}", "  events:", "metadata:", "metadata:\n  links:")},
		{"with a LoadBalancer Service dialled at its node port", scenario(t, "type: NodePort", "type: LoadBalancer")},
		{"with every field of a client in a closed loop", scenario(t, "connections: 4", "connections: 4\n      protocol: http2\n      tls: true\n      streamsPerConnection: 10\n      connectionLifetime: 1s\n      lifetimeJitter: 0.5\n      thinkTime: 1ms\n      connectionsPerSecond: 2.5\n      reconnect: immediate", "connections: 12", "connections: 64\n      sourceAddresses: 64\n      concurrency: 2\n      poolPolicy: mru")},
		{"with a rate that changes", scenario(t, "connections: 4", "connections: 4\n      rate: 0.5\n      arrivals: poisson\n      rates: [{at: 1s, rate: 200, ramp: true}, {at: 2s, rate: 0}]")},
		{"with a warm-up and uneven connections", scenario(t, "  clients:", "  warmUp: 2s\n  clients:", "requests: 600", "requests: 600\n      zipfExponent: 1.2")},
		{"with a load balancer", scenario(t, "type: NodePort", "type: LoadBalancer", "target: nodePort", "target: loadBalancer")},
		{"with pods dialled one by one", scenario(t, "connections: 4", "connections: 4\n      target: podIP\n      protocol: udp")},
		{"with names resolved in random order", scenario(t, "type: NodePort", "clusterIP: None", "connections: 4", "connections: 4\n      target: headless\n      resolve: perConnection\n      resolveOrder: random", "target: nodePort", "target: podIP", "vantage: external", "vantage: node")},
		{"with gRPC balanced by the client", scenario(t, "type: NodePort", "clusterIP: None", "connections: 4", "connections: 4\n      target: headless\n      protocol: grpc\n      grpcPolicy: round_robin", "target: nodePort", "target: headless", "vantage: external", "vantage: node")},
		{"with a metric between two bounds", scenario(t, "above: 1.4", "above: 1, below: 2")},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := Load("x.yaml", []byte(row.text)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProblemsHavePlaceAndPath(t *testing.T) {
	_, err := Load("x.yaml", []byte(scenario(t, "connections: 12", "connections: 0", "at: 2s", "at: 1h")))
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok {
		t.Fatalf("got %v, want an InvalidError", err)
	}
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, fmt.Sprintf("%s %d:%d %s", p.File, p.Line, p.Column, p.Path))
	}
	want := []string{"x.yaml 17:20 spec.clients[1].connections", "x.yaml 20:12 spec.events[0].at"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestValidateNodes(t *testing.T) {
	s, err := Load("x.yaml", []byte(scenario(t, "replicas: 6", "placement: {worker: 1, worker9: 3}", "  events:\n    - {at: 2s, scale: 12}\n", "",
		"vantage: external", "vantage: external\n      node: outsid\n      targetNodes: [worker2, worker7]")))
	if err != nil {
		t.Fatal(err)
	}
	err = ValidateNodes(s, []string{"worker2", "worker", "outside"})
	if err == nil {
		t.Fatal("unknown nodes pass")
	}
	golden(t, "nodes that are not there", err.Error()+"\n")

	s.src = nil // built in code: there is no file to point at
	if err := ValidateNodes(s, []string{"worker", "worker2"}); err == nil {
		t.Error("unknown nodes of a scenario without a file pass")
	}
	err = ValidateNodes(s, []string{"podskew-worker", "podskew-worker2", "podskew-worker7", "podskew-worker9", "podskew-outsid"})
	if err != nil {
		t.Errorf("names that kind gives to nodes: %v", err)
	}
}

func TestMarshalRoundTrip(t *testing.T) {
	files := map[string]string{"valid": valid}
	for _, name := range Names() {
		data, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	for name, text := range files {
		t.Run(name, func(t *testing.T) { checkRoundTrip(t, []byte(text)) })
	}
}

func checkRoundTrip(t *testing.T, data []byte) {
	t.Helper()
	first, err := Load("first.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	written, err := Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load("second.yaml", written)
	if err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	if diff := cmp.Diff(first, second, cmpopts.IgnoreUnexported(Scenario{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s\n%s", diff, written)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(valid))
	for _, name := range Names() {
		data, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Load("fuzz.yaml", data)
		if err == nil {
			checkRoundTrip(t, data)
			if err := ValidateNodes(s, nil); err != nil && !strings.Contains(err.Error(), "no node") {
				t.Errorf("nodes that are not there: %v", err)
			}
			return
		}
		invalid, ok := errors.AsType[*InvalidError](err)
		if !ok || len(invalid.Problems) == 0 {
			t.Fatalf("got %v, want an InvalidError with problems", err)
		}
		for _, p := range invalid.Problems {
			if lines := strings.Count(string(data), "\n") + 1; p.Line > lines {
				t.Errorf("problem on line %d of %d: %s", p.Line, lines, p.Message)
			}
		}
	})
}

// FuzzMarshal writes free text, the only part of a scenario that can hold anything.
func FuzzMarshal(f *testing.F) {
	for _, text := range []string{"plain", "a: b # c", "- x", "two\nlines\n", " spaces ", "'\"\\", "1e3", "~", "no", "|", "日本 é\t", "x:", "...", "---", "%a", "@b", "\n", "a\n\n b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 500 || strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), isControl) {
			t.Skip("not text that a file can hold")
		}
		s, err := Load("base.yaml", []byte(valid))
		if err != nil {
			t.Fatal(err)
		}
		s.Metadata.Description = text
		data, err := Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Load("written.yaml", data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if got.Metadata.Description != text {
			t.Errorf("%q became %q in\n%s", text, got.Metadata.Description, data)
		}
	})
}
