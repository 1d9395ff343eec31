package analyze_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// fallen is a run of one client whose fresh connections fell on one pod per node as counted.
func fallen(counts ...int) *record.Record {
	all := 0
	for _, n := range counts {
		all += n
	}
	placement := make([]int, len(counts))
	for i := range placement {
		placement[i] = 1
	}
	rec := simulate.Scene{Seed: 1, Placement: placement, Streams: []simulate.Stream{{Name: "web", Connections: all}}}.Record()
	seen := rec.Streams[0].Agents[0].IPs[0]
	rec.Tallies, rec.Servers = nil, nil
	given := make([]int, len(counts))
	for i := range rec.Connections {
		c := &rec.Connections[i]
		pod := i * 7 % len(counts) // in no order that a test could tell from chance
		for given[pod] == counts[pod] {
			pod = (pod + 1) % len(counts)
		}
		given[pod]++
		c.Backend = rec.Facts.Endpoints[pod].Pod
		rec.Tallies = append(rec.Tallies, record.Tally{Stream: c.Stream, Agent: c.Agent, Address: c.Address, Backend: c.Backend, Observed: seen, Second: int(c.Opened), Requests: 1})
	}
	return rec
}

// An unexplained skew needs p at or below 0.001 and five units expected on every pod; a note says what falls short of that.
func TestUnexplainedSkewIsOneInAThousand(t *testing.T) {
	for _, c := range []struct {
		name   string
		counts []int
		found  string // the finding, if there is one
		note   string // part of a note, if there is one
	}{
		{"far beyond chance", []int{180, 60, 60}, "error UnexplainedSkew web", ""},
		{"between one in a hundred and one in a thousand", []int{127, 85, 88}, "",
			"web: the shares differ by more than one run in 100 would by chance, and by less than one in 1000 would (p = "},
		{"how many would settle it", []int{127, 85, 88}, "", "echo-a0 got 127 instead of 100; "},
		{"within chance", []int{105, 100, 95}, "info Balanced web", ""},
		{"beyond chance, but few", []int{11, 1, 0}, "", "but there are only 4 connections per pod to tell (p = "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report(t, fallen(c.counts...))
			var judged []string
			for _, f := range found(r) {
				if strings.Contains(f, "UnexplainedSkew") || strings.Contains(f, "Balanced") {
					judged = append(judged, f)
				}
			}
			if strings.Join(judged, ", ") != c.found {
				t.Errorf("%v, want %q (p = %v)", judged, c.found, r.Streams[0].Test.AdjustedP)
			}
			noted := slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "the shares differ") })
			if noted != (c.note != "") || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.note) }) && c.note != "" {
				t.Errorf("notes %q, want %q (p = %v)", r.Notes, c.note, r.Streams[0].Test.AdjustedP)
			}
		})
	}
}

// chosenOn is a run of one client on each of three nodes, each kube-proxy's choices as counted.
func chosenOn(byNode ...[]int) *record.Record {
	rec := simulate.Scene{Seed: 1, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Clients: len(byNode), Connections: 300}}}.Record()
	rec.Tallies, rec.Servers = nil, nil
	source, left := map[string]string{}, map[string][]int{}
	for i, agent := range rec.Streams[0].Agents {
		source[agent.Name], left[agent.Name] = agent.IPs[0], slices.Clone(byNode[i])
	}
	for i := range rec.Connections {
		c := &rec.Connections[i]
		pod := i * 7 % len(rec.Facts.Endpoints) // in no order that a test could tell from chance
		for left[c.Agent][pod] == 0 {
			pod = (pod + 1) % len(rec.Facts.Endpoints)
		}
		left[c.Agent][pod]--
		c.Backend = rec.Facts.Endpoints[pod].Pod
		rec.Tallies = append(rec.Tallies, record.Tally{Stream: c.Stream, Agent: c.Agent, Address: c.Address, Backend: c.Backend, Observed: source[c.Agent], Second: int(c.Opened), Requests: 1})
	}
	return rec
}

// A skew is put down to one node if the choices of all others together are no further off than chance puts them.
func TestSkewOfOneNode(t *testing.T) {
	even := []int{100, 100, 100}
	for _, c := range []struct {
		name   string
		byNode [][]int
		node   bool
	}{
		{"one node is off", [][]int{even, {180, 60, 60}, even}, true},
		{"one is far off, another as one run in two hundred is", [][]int{{127, 85, 88}, {180, 60, 60}, even}, true},
		{"two are off alike", [][]int{{180, 60, 60}, {180, 60, 60}, even}, false},
		{"one is far off, another clearly so", [][]int{{140, 80, 80}, {200, 50, 50}, even}, false},
		{"all are a little off", [][]int{{127, 85, 88}, {127, 85, 88}, {127, 85, 88}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := chosenOn(c.byNode...)
			f := finding(t, report(t, rec), analyze.UnexplainedSkew)
			want := ""
			if c.node {
				want = "only where kube-proxy on " + rec.Streams[0].Agents[1].Node + " chose"
			}
			if strings.Contains(f.Summary, "only where") != c.node || !strings.Contains(f.Summary, want) {
				t.Errorf("%q, want %q", f.Summary, want)
			}
		})
	}
}

// Where to look depends on who chooses.
func TestRemediesOfASkewAreForWhoChooses(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(*record.Record)
		says    string
		kubeOne bool
	}{
		{"kube-proxy", func(*record.Record) {}, "EndpointSlices", true},
		{"a proxy", func(rec *record.Record) { *rec = *imported(rec, record.UnitRequest) }, "balancing method of the proxy", false},
		{"nobody knows who", func(rec *record.Record) { *rec = *imported(rec, record.UnitConnection) }, "behind the address", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := fallen(180, 60, 60)
			c.do(rec)
			var what []string
			for _, r := range finding(t, report(t, rec), analyze.UnexplainedSkew).Remedies {
				what = append(what, r.What)
			}
			all := strings.Join(what, "\n")
			if !strings.Contains(all, c.says) || strings.Contains(all, "kube-proxy") != c.kubeOne {
				t.Errorf("%s", all)
			}
		})
	}
}

// imported is the same run as somebody's log has it.
func imported(rec *record.Record, unit record.Unit) *record.Record {
	st := &rec.Streams[0]
	st.Target, st.Service, st.Vantage, st.Unit = "url", "", "external", unit
	rec.Facts = record.Facts{Cluster: record.Cluster{Provider: "imported", ProxyMode: "unknown"}}
	rec.FactsAfter = nil
	return rec
}

// Of a log that does not say which requests shared a connection, no share is a fault, and the report says what would explain it.
func TestSharesOfRequestsOnUnknownConnections(t *testing.T) {
	for _, c := range []struct {
		name   string
		counts []int
		note   string
	}{
		{"far apart", []int{60, 10, 7, 3, 6, 4, 10}, "if a connection carried 10.3 requests or more on average"},
		{"close", []int{53, 47}, "even if each of the 100 requests had a connection of its own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := imported(fallen(c.counts...), record.UnitUnknown)
			rec.Streams[0].Backends = len(c.counts)
			r := report(t, rec)
			for _, f := range r.Findings {
				if f.Severity != analyze.Info {
					t.Errorf("%s %s: %s", f.Severity, f.Code, f.Summary)
				}
			}
			if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, c.note) }) {
				t.Errorf("notes %q", r.Notes)
			}
		})
	}
}

// Who rewrites addresses on the way to a URL is not known, so nothing is said about it.
func TestNoSourceFindingsOfAURL(t *testing.T) {
	for _, unit := range []record.Unit{record.UnitConnection, record.UnitRequest, record.UnitUnknown} {
		r := report(t, imported(fallen(100, 100, 100), unit))
		for _, code := range []analyze.Code{analyze.SourceIPPreserved, analyze.SourceIPLost, analyze.HairpinSNAT} {
			if has(r, code) {
				t.Errorf("unit %q: %v", unit, found(r))
			}
		}
	}
}
