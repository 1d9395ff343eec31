package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// BothEnds compares what the clients counted with what the pods counted. The two know nothing of each other, so that losses and
// double counts on the way into the record show.
type BothEnds struct {
	Pods           int      `json:"pods"`                // that said what they counted
	Left           []string `json:"leftOut,omitempty"`   // pods not compared, as their count began anew during the run
	Connections    int      `json:"connections"`         // found at both ends
	Agreeing       int      `json:"agreeing"`            // of these, with as many requests at either end
	OnlyClients    int      `json:"onlyClients"`         // clients were answered on them, and their pod does not list them
	OnlyPods       int      `json:"onlyPods"`            // a pod lists them, and no client does
	Requests       int      `json:"requests"`            // answered, as the clients counted
	PodRequests    int      `json:"podRequests"`         // as the pods counted
	Unanswered     int      `json:"unanswered"`          // sent by clients without an answer: pods may have counted them
	Missing        int      `json:"missing"`             // requests that pods counted and clients know nothing of, unanswered ones excused
	Surplus        int      `json:"surplus"`             // answers that clients counted beyond what their pods did
	Truncated      int      `json:"truncated,omitempty"` // connections that pods counted without listing them
	ByConnection   bool     `json:"byConnection"`        // single connections could be compared, not only totals
	WhyNot         string   `json:"whyNot,omitempty"`    // one clause: why they could not
	unexplained    int      // connections of OnlyPods beyond those without an answer and those without a row
	clientsWithout int      // connections clients opened without ever being answered
}

// agree reports whether nothing is left that the two ends disagree on.
func (b *BothEnds) agree() bool {
	return b.Missing == 0 && b.Surplus == 0 && b.OnlyClients == 0 && b.unexplained == 0 && b.Agreeing == b.Connections
}

// joinKey is a connection as both ends know it: by the pod's own number or, where it has none, by the client's address.
type joinKey struct {
	pod    string
	number uint64
	client string
}

func keyOf(pod string, number uint64, client string) joinKey {
	if number != 0 {
		client = ""
	}
	return joinKey{pod, number, client}
}

// bothEnds joins the rows of clients and pods; nil if no pod said what it counted.
func bothEnds(rec *record.Record, streams []*traffic) *BothEnds {
	servers := lastCounts(rec)
	if servers == nil {
		return nil
	}
	b := &BothEnds{Pods: len(servers.rows), Left: servers.left}
	for _, s := range servers.rows {
		b.PodRequests += s.Requests
		b.Truncated += max(0, s.Truncated)
	}
	perPod := map[string]int{}
	dropped := b.notAmongRows(rec, perPod)
	for _, t := range streams {
		for _, s := range t.strata {
			for pod, a := range s.answered {
				perPod[pod] += a.requests
			}
			b.Unanswered += s.unansweredRequests()
		}
		switch {
		case t.plan.Target == "gateway":
			b.WhyNot = "the pods count the gateway's connections, which are not the clients'"
		case t.mesh() != nil:
			b.WhyNot = "the pods count their sidecars' connections, which are not the clients'"
		}
		for _, c := range t.rows {
			if len(c.Others) > 0 {
				b.WhyNot = "some connections were answered by several pods, so what the pods count are connections of something in between"
			}
		}
	}
	for _, s := range servers.rows {
		b.Requests += perPod[s.Pod]
		if over := perPod[s.Pod] - s.Requests; over > 0 {
			b.Surplus += over
		} else {
			b.Missing -= over
		}
	}
	b.Missing = max(0, b.Missing-b.Unanswered)
	if b.WhyNot == "" {
		b.joinRows(servers.rows, streams, dropped)
	}
	return b
}

// notAmongRows adds what generators did besides the rows they kept, and returns how many connections that were.
func (b *BothEnds) notAmongRows(rec *record.Record, perPod map[string]int) (dropped int) {
	for i := range rec.Generators {
		dropped += max(0, rec.Generators[i].DroppedRows)
		if w := rec.Generators[i].WarmUp; w != nil {
			dropped += max(0, w.Connections)
			b.Unanswered += max(0, w.Unanswered)
			for pod, n := range w.Answered {
				perPod[pod] += max(0, n)
			}
		}
	}
	return dropped
}

// unansweredRequests are those that reached a connection and came to nothing. A dial that failed takes a request's place, too, but
// no pod heard of it.
func (s *stratum) unansweredRequests() int {
	n := 0
	for kind, count := range s.errors {
		if kind != record.ErrStatus {
			n += count - s.dials[kind]
		}
	}
	return max(0, n)
}

// counted is what the pods said, one entry for each.
type counted struct {
	rows []*record.Server
	left []string
}

// lastCounts returns the last account of each pod that did not begin anew; nil without any account.
func lastCounts(rec *record.Record) *counted {
	if len(rec.Servers) == 0 {
		return nil
	}
	restarts := map[string]int{}
	for _, p := range rec.Facts.Pods {
		restarts[p.Name] = p.Restarts
	}
	again := map[string]bool{}
	if rec.FactsAfter != nil {
		for _, p := range rec.FactsAfter.Pods {
			if before, ok := restarts[p.Name]; ok && before != p.Restarts {
				again[p.Name] = true
			}
		}
	}
	last := map[string]*record.Server{}
	for i := range rec.Servers {
		s := &rec.Servers[i]
		if have := last[s.Pod]; have == nil || s.At >= have.At {
			last[s.Pod] = s
		}
	}
	c := &counted{}
	for _, pod := range sortedKeys(last) {
		if again[pod] {
			c.left = append(c.left, pod)
			continue
		}
		c.rows = append(c.rows, last[pod])
	}
	return c
}

// bothCounts is the requests of one connection that a pod lists, as it and as the clients counted them; client is negative if none did.
type bothCounts struct{ pod, client int }

// joinRows compares connection by connection.
func (b *BothEnds) joinRows(servers []*record.Server, streams []*traffic, dropped int) {
	b.ByConnection = true
	rows := map[joinKey]*bothCounts{}
	complete := map[string]bool{}
	for _, s := range servers {
		complete[s.Pod] = s.Truncated <= 0
		for _, r := range s.Rows {
			rows[keyOf(s.Pod, r.Connection, r.Client)] = &bothCounts{pod: r.Requests, client: -1}
		}
	}
	for _, t := range streams {
		for _, c := range t.rows {
			b.claim(c, rows, complete)
		}
	}
	for _, at := range rows {
		if at.client < 0 {
			b.OnlyPods++
			continue
		}
		b.Connections++
		// A request that timed out was counted by the pod all the same; the totals tell whether those are all.
		if at.client == at.pod || (at.client < at.pod && b.Unanswered > 0) {
			b.Agreeing++
		}
	}
	b.unexplained = max(0, b.OnlyPods-b.clientsWithout-dropped)
}

// claim finds a client's connection in the list of its pod.
func (b *BothEnds) claim(c *record.Connection, rows map[joinKey]*bothCounts, complete map[string]bool) {
	if c.Backend == "" {
		b.clientsWithout++
		return
	}
	full, asked := complete[c.Backend]
	if !asked {
		return
	}
	if at := rows[keyOf(c.Backend, c.ServerConn, c.Observed)]; at != nil {
		at.client = max(at.client, 0) + c.Requests + max(0, c.WarmUp)
	} else if full {
		b.OnlyClients++
	}
}

// compareEnds reports where the two ends disagree. That is a fault of the measurement, never of the target.
func (j *judge) compareEnds() {
	var streams []*traffic
	for _, s := range j.subjects {
		streams = append(streams, s.traffic)
	}
	b := bothEnds(j.rec, streams)
	j.ends = b
	if b == nil || b.Pods == 0 {
		return
	}
	if len(b.Left) > 0 {
		j.note("%s began to count anew during the run, so what clients counted is not compared with it.", listed(b.Left))
	}
	switch {
	case b.agree():
		return
	case j.rec.End == nil || j.rec.End.Interrupted:
		j.note("The pods counted %d requests, the clients' record holds %d answers: it is not whole, as the run did not end by itself.", b.PodRequests, b.Requests)
		return
	}
	j.add(Finding{
		Code: MeasurementArtefact, Severity: Warning,
		Summary: fmt.Sprintf("clients and pods do not agree on what happened: %s", b.disagreement()),
		Evidence: map[string]any{"connections": b.Connections, "agreeing": b.Agreeing, "onlyClients": b.OnlyClients, "onlyPods": b.OnlyPods,
			"requests": b.Requests, "podRequests": b.PodRequests, "unanswered": b.Unanswered, "missing": b.Missing, "surplus": b.Surplus},
		Remedies: []Remedy{{What: "see whether anything else sends requests to these pods, and whether a part of the record was lost; trust no share that hangs on the difference"}},
	})
}

func (b *BothEnds) disagreement() string {
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{
		{b.Missing, "%s that pods counted are not in the clients' account"},
		{b.Surplus, "%s that clients saw answered were not counted by the pods"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf(part.text, plural(part.n, "request", "requests")))
		}
	}
	for _, part := range []struct {
		n    int
		text string
	}{
		{b.unexplained, "%s of the pods' lists are in no client's"},
		{b.OnlyClients, "%s of the clients are in no pod's list"},
		{b.Connections - b.Agreeing, "%s have another number of requests at either end"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf(part.text, plural(part.n, "connection", "connections")))
		}
	}
	return strings.Join(parts, ", ")
}

// ServerLoad is what an echo pod says it used.
type ServerLoad struct {
	Pod         string  `json:"pod"`
	Requests    int     `json:"requests"`
	Connections int     `json:"connections"`
	Cores       float64 `json:"cores"`               // processors in use on average while the load ran; 0: not known
	Limit       float64 `json:"limit,omitempty"`     // cores it may use; 0: no limit, or not known
	Saturated   bool    `json:"saturated,omitempty"` // it used nine tenths of its limit or, without one, of a core
}

// saturatedAt is the part of what a pod may use from which it, and not the way to it, sets the pace.
const saturatedAt = 0.9

// serverLoads lists them by name.
func serverLoads(rec *record.Record) []ServerLoad {
	var loads []ServerLoad
	for i := range rec.Servers {
		s := &rec.Servers[i]
		l := ServerLoad{Pod: s.Pod, Requests: s.Requests, Connections: s.Connections, Limit: max(0, s.CPULimit)}
		if s.Seconds > 0 && s.CPUSeconds > 0 {
			l.Cores = s.CPUSeconds / s.Seconds
			l.Saturated = l.Cores >= saturatedAt*cmp.Or(l.Limit, 1)
		}
		loads = append(loads, l)
	}
	slices.SortStableFunc(loads, func(a, b ServerLoad) int { return cmp.Compare(a.Pod, b.Pod) })
	return loads
}

// saturation names echo pods that were at their limit: then latency and, in a closed loop, requests are what they could do.
func (j *judge) saturation() {
	j.servers = serverLoads(j.rec)
	var words, pods []string
	rows := []map[string]any{}
	for _, l := range j.servers {
		if !l.Saturated {
			continue
		}
		limit := "without a limit"
		if l.Limit > 0 {
			limit = fmt.Sprintf("of %s it may use", figure(l.Limit))
		}
		pods = append(pods, l.Pod)
		words = append(words, fmt.Sprintf("%s used %s cores %s", l.Pod, figure(l.Cores), limit))
		rows = append(rows, map[string]any{"pod": l.Pod, "cores": l.Cores, "limit": l.Limit})
	}
	if len(words) == 0 {
		return
	}
	j.add(Finding{
		Code: MeasurementArtefact, Severity: Warning,
		Summary: fmt.Sprintf("%s: latency and, in a closed loop, the requests of a connection are then what an echo pod can do, not what the way to it costs; "+
			"which pod a connection goes to does not depend on it", listed(words)),
		Evidence: map[string]any{"pods": pods, "servers": rows, "saturatedFrom": saturatedAt},
		Remedies: []Remedy{{What: "send less (a rate, fewer connections) or give the echo pods more CPU"}},
	})
}
