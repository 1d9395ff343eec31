package analyze

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/analyze/skew"
)

// stuckFrom is the part of its sessions' requests on one pod from which a stream counts as sticky.
const stuckFrom = 0.9

// sessionsHeld judges what a header or a cookie held together: whether each session kept to one pod, and whether that is the
// pod its requests name. A hash of a pod's name is some pod; only who looks the name up finds that one.
func (j *judge) sessionsHeld(s *subject) {
	r := s.report.Sessions
	if r == nil || r.Count == 0 || len(s.backends) < 2 {
		return
	}
	share := float64(r.OnePod) / float64(r.Requests)
	switch {
	case share < stuckFrom:
		j.sessionsScattered(s, r, share)
	case r.Named > 0 && r.Right < r.Named:
		j.wrongPod(s, r, share)
	default:
		text := fmt.Sprintf("%d of %d sessions (%s) kept their pod over %d requests", r.Held, r.Count, r.By, r.Requests)
		if r.Named > 0 {
			text += ", and it is the one that answered them first"
		}
		j.add(Finding{
			Code: AffinityHeld, Severity: Info, Stream: s.name, ByDesign: true, Summary: text,
			Evidence: sessionEvidence(s, r, share),
		})
	}
}

func sessionEvidence(s *subject, r *Sessions, share float64) map[string]any {
	e := map[string]any{"by": r.By, "sessions": r.Count, "held": r.Held, "requests": r.Requests, "onOnePod": share, "backends": len(s.backends)}
	if g := s.now.facts.Gateway; g != nil {
		e["proxy"], e["policy"], e["upstream"] = g.Proxy, g.Policy, g.Upstream
	}
	if m := s.mesh(); m != nil {
		e["proxy"], e["policy"] = m.Name, m.Policy
	}
	if r.Named > 0 {
		e["named"], e["right"], e["rightPod"] = r.Named, r.Right, float64(r.Right)/float64(r.Named)
	}
	return e
}

// wrongPod is stickiness that does not lead where its key says.
func (j *judge) wrongPod(s *subject, r *Sessions, share float64) {
	n := float64(len(s.backends))
	keys, right := len(r.Keys), 0
	examples := []map[string]any{}
	first := ""
	for _, k := range r.Keys {
		examples = append(examples, map[string]any{"key": k.Key, "pod": k.Pod, "reached": k.Reached, "sessions": k.Sessions, "requests": k.Requests})
		switch {
		case k.Reached == k.Pod:
			right++
		case first == "":
			first = fmt.Sprintf("; %s names %s and leads to %s", keyWords(k), k.Pod, k.Reached)
		}
	}
	rate := float64(r.Right) / float64(r.Named)
	e := sessionEvidence(s, r, share)
	e["keys"], e["keysRight"], e["keysRightInterval"], e["expectedByHash"], e["noneByHash"] = keys, right, r.Interval, 1/n, math.Pow(1-1/n, float64(keys))
	e["examples"] = examples[:min(len(examples), 10)]
	j.add(Finding{
		Code: StickyToWrongPod, Severity: Warning, Stream: s.name,
		Summary: fmt.Sprintf("sticky, and to the wrong pod: sessions sent %s of their requests to one pod, but only %s (%d of %d) to the pod that the %s names; "+
			"%d of %d keys lead to the pod they name, where a hash that knows nothing of pods' names does so for one in %d%s",
			percent(share), percent(rate), r.Right, r.Named, keyName(r), right, keys, len(s.backends), first),
		Evidence: e,
		Remedies: []Remedy{
			{What: "a cookie that the proxy sets and looks up (stateful session persistence, not a hash): the session returns to the pod that answered first", Predicted: map[string]any{"rightPod": 1}},
			{What: "if any pod will do as long as it is the same: a key of the session's own, and nothing that expects it to be a pod's", Predicted: map[string]any{"onOnePod": share, "rightPod": 1 / n}},
			{What: "if it has to be that pod: route by its name (a Service of its own for each pod, as a StatefulSet's, or the pod's address)", Predicted: map[string]any{"rightPod": 1}},
		},
	})
}

func keyWords(k SessionKey) string {
	if k.Key == "" {
		return "a session of " + k.Pod
	}
	return k.Key
}

// keyName says what names the pod.
func keyName(r *Sessions) string {
	if r.By == "cookies" {
		return "cookie"
	}
	return r.By
}

// sessionsScattered is a proxy that should hold sessions together and does not.
func (j *judge) sessionsScattered(s *subject, r *Sessions, share float64) {
	if s.unit != unitSession || s.changed {
		return // nobody is asked to hold them, or the pods changed
	}
	who, each := "gateway", "gateway's pods"
	if s.mesh() != nil {
		who, each = "mesh", "clients' sidecars"
	}
	j.add(Finding{
		Code: AffinityBroken, Severity: Error, Stream: s.name,
		Summary: fmt.Sprintf("%d of %d sessions (%s) kept to one pod; on average one pod got %s of a session's requests, where the %s's policy is to send all of them to one",
			r.Held, r.Count, r.By, percent(share), who),
		Evidence: sessionEvidence(s, r, share),
		Remedies: []Remedy{{What: "see whether the " + each + " know different backends, or mark them down at times: each hashes onto, or remembers, what it knows"}},
	})
}

// carriers counts what carries requests to pods: connections, or those of a gateway.
func carriers(n int, unit string) string {
	if unit == unitUpstream {
		return unitCount(n, unit)
	}
	return plural(n, "connection", "connections")
}

// funnelRemedies say what would spread requests that a gateway sends through few connections to the Service.
func (j *judge) funnelRemedies(s *subject, singly *skew.Chance) []Remedy {
	now := s.report.Skew.MaxOverMean
	remedies := []Remedy{{
		What:      fmt.Sprintf("have the proxy choose among the pods itself, request by request (upstream: the pods, by a headless Service or their endpoints, not the cluster IP): max/mean %s → 1 if it takes turns", figure(now)),
		Predicted: map[string]any{"maxOverMeanNow": now, "maxOverMean": skew.Range{1, singly.MaxOverMean[1]}},
	}}
	if needed := s.connectionsNeeded(); float64(needed) > worthMore*float64(s.law.Units()) {
		remedies = append(remedies, Remedy{
			What:      fmt.Sprintf("if the cluster IP has to stay: %d connections from the proxy instead of %d, or more of its pods", needed, s.law.Units()),
			Predicted: map[string]any{"connections": needed, "maxOverMeanNow": now, "forMaxOverMean": tightFactor},
		})
	}
	return append(remedies, Remedy{
		What:      fmt.Sprintf("or no kept-alive connections to the Service, at the price of a handshake for each request: max/mean %s → %s", figure(now), span2(singly.MaxOverMean)),
		Predicted: map[string]any{"maxOverMeanNow": now, "maxOverMean": singly.MaxOverMean},
	})
}
