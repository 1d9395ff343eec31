package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// Sessions says where requests went that a header or a cookie holds together. Each connection slot of a client is a session.
type Sessions struct {
	By       string       `json:"by"`                 // header NAME, or cookies
	Count    int          `json:"count"`              // with at least two requests after the pod was chosen
	Held     int          `json:"held"`               // of these, all requests went to one pod
	Requests int          `json:"requests"`           // answered, that said which session they belong to
	OnePod   int          `json:"onePod"`             // of these, by the pod that got most of their session
	Named    int          `json:"named"`              // of the requests, those that named a pod
	Right    int          `json:"right"`              // of these, answered by the pod that they named
	Interval *Range       `json:"interval,omitempty"` // Clopper–Pearson 95 % of the keys whose pod is the one they name; nil: nothing is named
	Keys     []SessionKey `json:"keys,omitempty"`     // that name a pod; at most 200
}

// SessionKey is one pod as sessions name it, and where their requests went.
type SessionKey struct {
	Key      string `json:"key"`     // what the header said
	Pod      string `json:"pod"`     // that it names
	Reached  string `json:"reached"` // the pod that got most of the requests
	Sessions int    `json:"sessions"`
	Requests int    `json:"requests"`
	Right    int    `json:"right"`
}

// party is one session.
type party struct {
	key      string
	named    string         // pod that the requests are meant for: the one that answered first; "": none
	counts   map[string]int // answered requests that said which session they belong to, by pod
	requests int
}

// most returns the pod that got most of the requests, and how many those were.
func (p *party) most() (pod string, n int) {
	for _, name := range sortedKeys(p.counts) {
		if p.counts[name] > n {
			pod, n = name, p.counts[name]
		}
	}
	return pod, n
}

// parties follows the sessions of a stream through the connections that were opened in a window, in the order of client and slot.
func (t *traffic) parties(w window) []*party {
	session := t.plan.Session
	if session == nil {
		return nil
	}
	type slot struct {
		agent string
		slot  int
	}
	byID := slices.Clone(t.rows)
	slices.SortStableFunc(byID, func(a, b *record.Connection) int {
		return cmp.Or(cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
	})
	own := session.Header != "" && session.Value != "podIP" && session.Value != "podName"
	found := map[slot]*party{}
	var list []*party
	for _, c := range byID {
		if c.Backend == "" {
			continue
		}
		key := slot{c.Agent, c.Slot}
		p := found[key]
		first := p == nil
		if first {
			p = &party{counts: map[string]int{}}
			if !own {
				p.named = c.Backend
			}
			found[key] = p
			list = append(list, p)
		}
		p.key = cmp.Or(c.Key, p.key)
		if w.holds(c.Opened) {
			p.add(c, first && !own && c.WarmUp == 0)
		}
	}
	return list
}

// add counts the requests of a connection. The first request of a session that has to be told its key has none.
func (p *party) add(c *record.Connection, untold bool) {
	others := othersOf(c)
	n := c.Requests - others
	if untold {
		n--
	}
	if n > 0 {
		p.counts[c.Backend] += n
		p.requests += n
	}
	for pod, k := range c.Others {
		p.counts[pod] += k
		p.requests += k
	}
}

// sessionsIn counts what became of the sessions of a stream in a window: nothing, where there are none.
func (t *traffic) sessionsIn(w window) sessionCounts {
	var out sessionCounts
	for _, p := range t.parties(w) {
		_, most := p.most()
		out.held, out.heldOf = out.held+max(0, most-1), out.heldOf+max(0, p.requests-1)
		if p.named != "" {
			out.right, out.rightOf = out.right+p.counts[p.named], out.rightOf+p.requests
		}
	}
	return out
}

// mostKeysListed bounds Sessions.Keys.
const mostKeysListed = 200

// sessions sums the sessions of a stream up; nil: it has none.
func (t *traffic) sessions() *Sessions {
	plan := t.plan.Session
	if plan == nil {
		return nil
	}
	s := &Sessions{By: "cookies"}
	if plan.Header != "" {
		s.By = "header " + plan.Header
	}
	byKey := map[string]*SessionKey{}
	reached := map[string]map[string]int{}
	for _, p := range t.parties(window{math.Inf(-1), math.Inf(1)}) {
		_, most := p.most()
		s.Requests, s.OnePod = s.Requests+p.requests, s.OnePod+most
		if p.requests >= 2 {
			s.Count++
			if most == p.requests {
				s.Held++
			}
		}
		if p.named == "" || p.requests == 0 {
			continue
		}
		s.Named, s.Right = s.Named+p.requests, s.Right+p.counts[p.named]
		k := byKey[p.named]
		if k == nil {
			k = &SessionKey{Key: p.key, Pod: p.named}
			byKey[p.named], reached[p.named] = k, map[string]int{}
		}
		k.Sessions, k.Requests, k.Right = k.Sessions+1, k.Requests+p.requests, k.Right+p.counts[p.named]
		for pod, n := range p.counts {
			reached[p.named][pod] += n
		}
	}
	s.keys(byKey, reached)
	return s
}

// keys lists what the keys named and reached.
func (s *Sessions) keys(byKey map[string]*SessionKey, reached map[string]map[string]int) {
	right := 0
	for _, pod := range sortedKeys(byKey) {
		k := byKey[pod]
		k.Reached, _ = (&party{counts: reached[pod]}).most()
		if k.Reached == k.Pod {
			right++
		}
		s.Keys = append(s.Keys, *k)
	}
	if len(s.Keys) > 0 {
		s.Interval = new(Range(skew.ClopperPearson(right, len(s.Keys), 0.95)))
	}
	s.Keys = s.Keys[:min(len(s.Keys), mostKeysListed)]
}

// addSessions counts each session as one choice.
func (u *units) addSessions(t *traffic) {
	s := t.firstAnswering()
	if s == nil {
		return
	}
	for _, p := range t.parties(window{math.Inf(-1), math.Inf(1)}) {
		pod, _ := p.most()
		switch {
		case p.requests == 0:
		case !s.eligible[pod]:
			u.stray++
		default:
			u.list = append(u.list, unit{stratum: s, pod: pod, load: p.requests, n: 1})
		}
	}
}

// firstAnswering is the first stratum that should be answered; nil: there is none. Behind a gateway all have the same shares.
func (t *traffic) firstAnswering() *stratum {
	for _, s := range t.strata {
		if s.at.Outcome == Answer {
			return s
		}
	}
	return nil
}
