package analyze_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// near is a run under trafficDistribution PreferSameZone, a zone for each node, with clients on the first nodes.
func near(clients int, placement ...int) *record.Record {
	scene := simulate.Scene{Seed: 7, Placement: placement, InternalLocal: true, Streams: []simulate.Stream{{Name: "web", Clients: clients, Connections: 60}}}
	rec := scene.Record() // a zone is a node here: as Local, but by hints
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		facts.Services[0].InternalTrafficPolicy, facts.Services[0].TrafficDistribution = "Cluster", "PreferSameZone"
		for i := range facts.Endpoints {
			facts.Endpoints[i].HintZones = []string{facts.Endpoints[i].Zone}
		}
	}
	return rec
}

func TestTopologyImbalance(t *testing.T) {
	plainly := func(change func(*record.Facts)) func(*record.Record) {
		return func(rec *record.Record) { change(&rec.Facts); change(rec.FactsAfter) }
	}
	for _, c := range []struct {
		name     string
		rec      *record.Record
		change   func(*record.Record)
		severity analyze.Severity // "": no finding
		says     string
	}{
		{"one pod near a client, three near the other", near(2, 1, 3), nil, analyze.Warning, "under trafficDistribution PreferSameZone connections go to near pods only: over all 4 ready pods the settings make a max/mean of 2"},
		{"as many pods near either", near(2, 2, 2), nil, "", ""},
		{"pods that are near no client", near(2, 1, 1, 1), nil, analyze.Warning, "a max/mean of 1.5, and 1 are near no client of this stream (echo-c0)"},
		{"seven and eight", near(2, 7, 8), nil, "", ""},
		{"five and seven", near(2, 5, 7), nil, analyze.Info, "a max/mean of 1.2"},
		{"hints without the field", near(2, 1, 3), plainly(func(f *record.Facts) { f.Services[0].TrafficDistribution = "" }), analyze.Warning, "under topology hints"},
		{"a single pod", near(1, 1), nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.rec)
			}
			r := report(t, c.rec)
			at := slices.IndexFunc(r.Findings, func(f analyze.Finding) bool { return f.Code == analyze.TopologyImbalance })
			switch {
			case (at >= 0) != (c.severity != ""):
				t.Errorf("findings %v", found(r))
			case at >= 0:
				f := r.Findings[at]
				if f.Severity != c.severity || !f.ByDesign || !strings.Contains(f.Summary, c.says) || len(f.Remedies) != 2 {
					t.Errorf("%s: %s", f.Severity, f.Summary)
				}
			}
		})
	}
}
