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
