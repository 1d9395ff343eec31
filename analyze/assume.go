package analyze

import (
	"fmt"
	"slices"

	"github.com/podskew/podskew/record"
)

// mostUnseen is how many backends that never answered are listed.
const mostUnseen = 10_000

// assume makes the expectation for a URL, of whose server no facts are known: whoever answered is as likely as any other, and so
// are those that the user says there are.
func (t *traffic) assume() {
	seen := map[string]bool{}
	split, rows := 0, 0
	for _, s := range t.strata {
		for pod := range s.answered {
			seen[pod] = true
		}
		for pod := range s.connections() {
			seen[pod] = true
		}
	}
	for _, c := range t.rows {
		if c.Backend != "" {
			rows++
		}
		if len(c.Others) > 0 {
			split++
		}
	}
	delete(seen, "")
	pods := sortedKeys(seen)
	for i := len(pods); i < min(t.plan.Backends, mostUnseen); i++ {
		pods = append(pods, fmt.Sprintf("(never seen %d)", i-len(seen)+1))
	}
	if len(pods) == 0 {
		return
	}
	at := t.assumed(pods, 2*split > rows)
	t.untested = at.Untested
	for _, s := range t.strata {
		s.at = at
		for _, pod := range pods {
			s.eligible[pod], s.stays[pod] = true, true
		}
	}
}

// assumed is the prediction that all strata of a URL share.
func (t *traffic) assumed(pods []string, split bool) Prediction {
	at := Prediction{Outcome: Answer, Unit: unitConnection, KeyedOn: Client, Reason: "each backend that answered is taken to be equally likely"}
	if t.plan.Protocol == "udp" {
		at.Unit = unitFlow
	}
	if t.plan.Backends > 0 {
		at.Reason = fmt.Sprintf("each of %d backends is taken to be equally likely", len(pods))
	}
	switch {
	case t.plan.Unit == record.UnitRequest:
		at.Unit = unitRequest
	case t.plan.Unit == record.UnitUnknown:
		at.Unit, at.Untested = unitRequest, "which requests shared a connection is not known, so it is not known how many choices there were"
	case split:
		at.Untested = "most connections were answered by several backends, so something on the way deals out single requests"
	}
	for _, pod := range pods {
		at.Backends = append(at.Backends, PredictedBackend{Pod: pod, P: 1 / float64(len(pods)), Source: Client})
	}
	return at
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
