package analyze

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podskew/podskew/record"
)

func TestWhenAPodWasNoReadyEndpoint(t *testing.T) {
	never := math.Inf(1)
	event := func(kind record.EventKind, at, effective float64) record.Event {
		return record.Event{Kind: kind, At: at, Effective: effective, Target: "a"}
	}
	of := func(e record.Event, target string) record.Event {
		e.Target = target
		return e
	}
	for name, row := range map[string]struct {
		before, after bool
		events        []record.Event
		want          []absence
	}{
		"nothing is said of it":                   {true, true, nil, nil},
		"it was gone at the end":                  {true, false, nil, []absence{{never, never, false}}},
		"it went at a time":                       {true, false, []record.Event{event(record.EventUnready, 3, 0)}, []absence{{5, never, false}}},
		"it was unready before it was gone":       {true, false, []record.Event{event(record.EventUnready, 3, 0), event(record.EventRemoved, 4, 0)}, []absence{{5, never, false}}},
		"it came back":                            {true, true, []record.Event{event(record.EventUnready, 3, 0), event(record.EventReady, 9, 0)}, []absence{{5, 9, false}}},
		"it came back before anybody had to know": {true, true, []record.Event{event(record.EventUnready, 3, 0), event(record.EventReady, 4, 0)}, nil},
		"it is new":                               {false, true, []record.Event{event(record.EventUnready, 3, 0), event(record.EventReady, 4, 0)}, nil},
		"its probe failed, and the nodes knew": {
			true, false, []record.Event{event(record.EventProbe, 2, 3.4), event(record.EventUnready, 3, 0)}, []absence{{3.4, never, true}},
		},
		"another's probe failed": {
			true, false, []record.Event{of(event(record.EventProbe, 2, 3.4), "b"), event(record.EventUnready, 3, 0)}, []absence{{5, never, false}},
		},
		"a rolling restart took it away": {
			true, false, []record.Event{of(event(record.EventRestart, 2, 9), ""), event(record.EventUnready, 3, 0)}, []absence{{9, never, true}},
		},
		"a restart had been over before": {
			true, false, []record.Event{of(event(record.EventRestart, 1, 2.5), ""), event(record.EventUnready, 3, 0)}, []absence{{5, never, false}},
		},
		"a setting of the Service has nothing to do with it": {
			true, false, []record.Event{event(record.EventPolicy, 2, 3.4), event(record.EventUnready, 3, 0)}, []absence{{5, never, false}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts := func(ready bool) record.Facts {
				return record.Facts{Endpoints: []record.Endpoint{{Service: "echo", Pod: "a", Ready: ready}}}
			}
			after := facts(row.after)
			rec := &record.Record{Facts: facts(row.before), FactsAfter: &after, Events: row.events}
			if diff := cmp.Diff(row.want, absencesOf(rec, "echo", "a"), cmp.AllowUnexported(absence{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
