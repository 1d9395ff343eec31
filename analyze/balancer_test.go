package analyze_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// throughBalancer is a run under externalTrafficPolicy Local whose clients dial a load balancer's address, one pod on the first
// node and three on the second. The nodes' health checks say so, and the third's that it has none.
func throughBalancer(change func(*record.Facts)) *record.Record {
	scene := simulate.Scene{Seed: 5, Placement: []int{1, 3, 0}, ExternalLocal: true,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 600, TargetNodes: []int{0, 1}}}}
	rec := scene.Record()
	st := &rec.Streams[0]
	st.Target, st.Addresses = "loadBalancer", []record.Address{{HostPort: "10.77.9.9:80"}}
	for i := range rec.Connections {
		rec.Connections[i].Address = "10.77.9.9:80"
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Address = "10.77.9.9:80"
	}
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		facts.Services[0].Type, facts.Services[0].LoadBalancerIPs = "LoadBalancer", []string{"10.77.9.9"}
		for i, n := range facts.Cluster.Nodes[:3] {
			status := map[bool]int{true: 200, false: 503}[i < 2]
			pods := []int{1, 3, 0}[i]
			facts.HealthChecks = append(facts.HealthChecks, record.HealthCheck{Service: facts.Services[0].Name, Node: n.Name, Status: status, Endpoints: pods, Weight: pods})
		}
		if change != nil {
			change(facts)
		}
	}
	return rec
}

func says(weights ...int) func(*record.Facts) {
	return func(f *record.Facts) {
		for i, w := range weights {
			if w > 0 {
				f.Services[0].Balancer = append(f.Services[0].Balancer, record.BalancerNode{Node: f.Cluster.Nodes[i].Name, Weight: w})
			}
		}
	}
}

func predicted(rec *record.Record) (analyze.Prediction, []float64) {
	p := analyze.Predict(&rec.Facts, &rec.Streams[0], rec.Streams[0].Agents[0], rec.Streams[0].Addresses[0])
	var shares []float64
	for _, b := range p.Backends {
		shares = append(shares, math.Round(1000*b.P)/1000)
	}
	slices.Sort(shares)
	return p, shares
}

func TestABalancerDealsToTheNodesThatWantIt(t *testing.T) {
	sixths, quarters := []float64{0.167, 0.167, 0.167, 0.5}, []float64{0.25, 0.25, 0.25, 0.25}
	for _, c := range []struct {
		name   string
		change func(*record.Facts)
		shares []float64
		tested bool
	}{
		{"health checks alone: each that passes the same, untested", nil, sixths, false},
		{"a balancer that says it deals evenly", says(1, 1), sixths, true},
		{"a balancer that says it weighs by endpoints", says(1, 3), quarters, true},
		{"a node that says no although it has pods gets nothing", func(f *record.Facts) { f.HealthChecks[0].Status = 503 }, []float64{0.333, 0.333, 0.333}, true},
		{"a node that could not be asked may get its part", func(f *record.Facts) { f.HealthChecks[0].Status = 0 }, sixths, false},
		{"health checks of another Service do not count", func(f *record.Facts) { f.HealthChecks[0].Status, f.HealthChecks[0].Service = 503, "other" }, sixths, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, shares := predicted(throughBalancer(c.change))
			if !slices.Equal(shares, c.shares) || (p.Untested == "") != c.tested {
				t.Errorf("%v, untested %q: %s", shares, p.Untested, p.Reason)
			}
		})
	}
	none := throughBalancer(func(f *record.Facts) {
		for i := range f.HealthChecks {
			f.HealthChecks[i].Status = 503
		}
	})
	if p, _ := predicted(none); p.Outcome != analyze.Timeout || !p.NoLocal {
		t.Errorf("with no node that passes: %s, %s", p.Outcome, p.Reason)
	}
}

// What the health checks say is the remedy to what an even balancer does with them.
func TestTheRemedyIsInTheHealthChecks(t *testing.T) {
	f := finding(t, report(t, throughBalancer(says(1, 1))), analyze.LocalPolicyImbalance)
	remedy := f.Remedies[0]
	shares, _ := remedy.Predicted["shares"].([]float64)
	if !strings.Contains(remedy.What, "X-Load-Balancing-Endpoint-Weight") || !strings.Contains(remedy.What, " 1, ") || !slices.Equal(shares, []float64{0.25, 0.25, 0.25, 0.25}) {
		t.Errorf("%s: %v", remedy.What, remedy.Predicted)
	}
	if checks := f.Evidence["healthChecks"].([]map[string]any); len(checks) != 3 || checks[2]["status"] != 503 {
		t.Errorf("health checks %v", checks)
	}
	unsaid := throughBalancer(func(f *record.Facts) {
		says(1, 1)(f)
		f.HealthChecks[0].Weight = 0
	})
	if f := finding(t, report(t, unsaid), analyze.LocalPolicyImbalance); strings.Contains(f.Remedies[0].What, "Weight") {
		t.Errorf("a node says no weight: %s", f.Remedies[0].What)
	}
}

func TestPodsBesideTheWayInCount(t *testing.T) {
	scene := simulate.Scene{Seed: 5, Placement: []int{1, 3}, ExternalLocal: true,
		Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 60, TargetNodes: []int{0}}}}
	f := finding(t, report(t, scene.Record()), analyze.LocalPolicyImbalance)
	if !strings.Contains(f.Summary, "3 get nothing") || f.Evidence["expectedMaxOverMean"] != 4.0 || f.Severity != analyze.Warning {
		t.Errorf("%s: %s", f.Severity, f.Summary)
	}
	remedy := f.Remedies[0]
	if !strings.HasPrefix(remedy.What, "let connections enter by every node that has a pod") || remedy.Predicted["maxOverMean"] != 2.0 {
		t.Errorf("%s: %v", remedy.What, remedy.Predicted)
	}
}

func TestHintsThatAreAskedForAndNotGiven(t *testing.T) {
	scene := simulate.Scene{Seed: 5, Placement: []int{1, 1, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 60}}}
	for _, mode := range []string{"Auto", "auto", "Disabled", ""} {
		rec := scene.Record()
		for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
			facts.Services[0].TopologyMode = mode
		}
		noted := slices.ContainsFunc(report(t, rec).Notes, func(n string) bool { return strings.Contains(n, "no endpoint has any") })
		if noted != strings.EqualFold(mode, "auto") {
			t.Errorf("mode %q: noted %t", mode, noted)
		}
	}
}

func TestAnExpectationAboutAnotherProxyModeIsNotApplicable(t *testing.T) {
	scene := simulate.Scene{Seed: 5, ProxyMode: "nftables", Placement: []int{1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 60}}}
	r, err := analyze.Analyze(scene.Record(), []analyze.Expectation{
		{Name: "another", Finding: analyze.NoEndpoints, ProxyMode: "iptables"},
		{Name: "this", Finding: analyze.NoEndpoints, ProxyMode: "nftables"},
	}, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Expectations[0]; !e.NotApplicable || !e.Passed || !strings.Contains(e.Detail, "nftables mode here") {
		t.Errorf("another mode's: %+v", e)
	}
	if e := r.Expectations[1]; e.NotApplicable || e.Passed || r.Passed {
		t.Errorf("this mode's: %+v", e)
	}
}

// A kube-proxy that missed its node's zone chooses among all ready pods, whatever the hints say.
func TestAKubeProxyThatIgnoresHints(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		scene := simulate.Scene{Seed: 5, Placement: []int{2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 1, Connections: 60}}}
		rec := scene.Record()
		for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
			facts.Services[0].TrafficDistribution = "PreferSameZone"
			for i := range facts.Endpoints {
				if hinted {
					facts.Endpoints[i].HintZones = []string{facts.Endpoints[i].Zone}
				} else if facts.Endpoints[i].Node != facts.Endpoints[0].Node {
					facts.Endpoints[i].Ready = false
				}
			}
		}
		f := finding(t, report(t, rec), analyze.ForeignBackend)
		if says := strings.HasPrefix(f.Remedies[0].What, "restart kube-proxy on "); says != hinted {
			t.Errorf("hints %t: %s", hinted, f.Remedies[0].What)
		}
	}
}

func TestAComparisonNamesPodsOutOfReach(t *testing.T) {
	of := func(targets ...int) []*analyze.Report {
		scene := simulate.Scene{Seed: 5, Placement: []int{1, 3}, ExternalLocal: true,
			Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 60, TargetNodes: targets}}}
		return []*analyze.Report{report(t, scene.Record())}
	}
	compare := func(before, after []*analyze.Report) []string {
		c, err := analyze.Compare(before, after)
		if err != nil {
			t.Fatal(err)
		}
		return c.Notes
	}
	const note = "outside: before, 3 ready pods were out of its reach by the settings and in none of these numbers."
	if notes := compare(of(0), of(0, 1)); !slices.Contains(notes, note) {
		t.Errorf("notes %q", notes)
	}
	if notes := compare(of(0, 1), of(0, 1)); slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "out of its reach") }) {
		t.Errorf("nothing is out of reach: %q", notes)
	}
}
