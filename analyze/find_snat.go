package analyze

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/podskew/podskew/record"
)

// portClass is a range of ports within which a Linux node keeps a connection's source port when it masquerades it: nobody can
// tell it another range in kube-proxy's rules (nf_nat_l4proto_unique_tuple in the kernel's net/netfilter/nf_nat_core.c).
type portClass struct {
	least, most int // the client's own port
	from, to    int // what the node chooses from
}

func portClasses() []portClass {
	return []portClass{{1, 511, 1, 511}, {512, 1023, 600, 1023}, {1024, 65535, 1024, 65535}}
}

func (c portClass) ports() int { return c.to - c.from + 1 }

// classOf returns the class of a client's own port.
func classOf(port int) portClass {
	for _, c := range portClasses() {
		if port <= c.most {
			return c
		}
	}
	return portClasses()[2]
}

// exhaustedFrom is the part of a class's ports from which one that is free is not found any more: the kernel looks in no more
// than 240 places, in blocks.
const exhaustedFrom = 0.99

// snatKey is what a masquerading node needs another port for with every connection.
type snatKey struct {
	address, pod string // the node's address, and whom it speaks to
	class        portClass
}

// snatUse is when how many connections had a port of their own.
type snatUse struct {
	spans []window
	peak  int
	full  []window // when there was none left, near enough
}

// snatUses counts the ports that masquerading nodes had given away, over all streams: they share them.
func (j *judge) snatUses() map[snatKey]*snatUse {
	if j.snat != nil {
		return j.snat
	}
	j.snat = map[snatKey]*snatUse{}
	end := secondsOf(j.rec)
	for _, s := range j.subjects {
		for _, row := range s.rows {
			key, ok := s.snatOf(row)
			if !ok {
				continue
			}
			u := j.snat[key]
			if u == nil {
				u = &snatUse{}
				j.snat[key] = u
			}
			u.spans = append(u.spans, window{row.Connected, cmp.Or(row.Closed, end)})
		}
	}
	for key, u := range j.snat {
		u.sweep(int(math.Ceil(exhaustedFrom * float64(key.class.ports()))))
	}
	return j.snat
}

// snatOf is what a connection was given a port for; false if no node of the cluster masqueraded it, as far as is known.
func (t *traffic) snatOf(row *record.Connection) (snatKey, bool) {
	if row.Connected == 0 || row.Backend == "" || !t.overTCP() {
		return snatKey{}, false
	}
	seen, err := netip.ParseAddrPort(row.Observed)
	x := t.byKey[stratumKey{row.Agent, row.Address}]
	if err != nil || x == nil {
		return snatKey{}, false
	}
	ip := seen.Addr().Unmap().String()
	switch class, _ := classify(t.facts, t.plan, x.agent, x.addr, ip); class {
	case ReceivingNode, PodGateway, ClientNode:
		return snatKey{ip, row.Backend, classOf(t.ownPort(row))}, true
	default:
		return snatKey{}, false
	}
}

func (t *traffic) overTCP() bool { return t.plan.Protocol != "udp" && t.plan.Target != "url" }

// ownPort is the port a connection left its client from; of one that failed, one of those it may have left from.
func (t *traffic) ownPort(row *record.Connection) int {
	if own, err := netip.ParseAddrPort(row.Local); err == nil {
		return int(own.Port())
	}
	if r := t.plan.SourcePorts; r != nil {
		return r.From
	}
	return portClasses()[2].from // the kernel chooses no lower one
}

// sweep finds the most spans at a time, and when there were so many that nothing was left.
func (u *snatUse) sweep(full int) {
	type step struct {
		at float64
		by int
	}
	steps := make([]step, 0, 2*len(u.spans))
	for _, s := range u.spans {
		steps = append(steps, step{s.from, 1}, step{s.to, -1})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	open := 0
	for _, s := range steps {
		before := open
		open += s.by
		u.peak = max(u.peak, open)
		switch {
		case before < full && open >= full:
			u.full = append(u.full, window{s.at, math.Inf(1)})
		case before >= full && open < full:
			u.full[len(u.full)-1].to = s.at
		}
	}
}

// fullIn reports whether there was no port left in all of a span.
func (u *snatUse) fullIn(s window) bool {
	return slices.ContainsFunc(u.full, func(f window) bool { return f.from <= s.from && s.to <= f.to })
}

// snatPressure says that connections timed out while the node they came through had no source port left towards a pod.
func (j *judge) snatPressure(s *subject) {
	if !s.overTCP() || !slices.ContainsFunc(s.rows, connectTimedOut) {
		return // counting ports means going through every connection of the run
	}
	uses := j.snatUses()
	through := s.snatPaths() // by dialled address
	blocked, timeouts := 0, 0
	short := map[snatKey]bool{}
	for _, row := range s.rows {
		if !connectTimedOut(row) {
			continue
		}
		timeouts++
		again, class, hit := sentAgain(row), classOf(s.ownPort(row)), false
		for _, key := range through[row.Address] {
			if key.class == class && uses[key].fullIn(again) {
				short[key], hit = true, true
			}
		}
		if hit {
			blocked++
		}
	}
	if blocked == 0 {
		return
	}
	j.addSNATPressure(s, sortedSNAT(short), blocked, timeouts)
}

// connectTimedOut reports whether a connection was given up before it was established.
func connectTimedOut(row *record.Connection) bool {
	return row.Connected == 0 && row.Error == record.ErrTimeout
}

// sentAgain is from the first to the last time that a connection which timed out may have sent its SYN again: after one second,
// and at whole seconds from then on. One that did not wait for so long is taken at its end, as what was sent at its beginning
// may have been part of a rush.
func sentAgain(row *record.Connection) window {
	wait := row.Closed - row.Opened
	if wait < 1 {
		return window{row.Closed, row.Closed}
	}
	return window{row.Opened + 1, row.Opened + max(1, math.Floor(wait-timerSlack))}
}

// timerSlack is how late a timeout may be noticed, in seconds.
const timerSlack = 0.1

// snatPaths lists, for each dialled address, what its connections were given ports for.
func (t *traffic) snatPaths() map[string][]snatKey {
	out := map[string][]snatKey{}
	for _, row := range t.rows {
		if key, ok := t.snatOf(row); ok && !slices.Contains(out[row.Address], key) {
			out[row.Address] = append(out[row.Address], key)
		}
	}
	return out
}

func sortedSNAT(keys map[snatKey]bool) []snatKey {
	out := make([]snatKey, 0, len(keys))
	for key := range keys {
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b snatKey) int {
		return cmp.Or(cmp.Compare(a.address, b.address), cmp.Compare(a.pod, b.pod), cmp.Compare(a.class.from, b.class.from))
	})
	return out
}

func (j *judge) addSNATPressure(s *subject, short []snatKey, blocked, timeouts int) {
	var words []string
	rows := []map[string]any{}
	ports := 0
	for _, key := range short {
		use, node := j.snat[key], s.nodeBehind(key.address)
		words = append(words, fmt.Sprintf("%s towards %s, with %d connections at a time on the %d ports from %d to %d",
			placedAt(key.address, node), key.pod, use.peak, key.class.ports(), key.class.from, key.class.to))
		rows = append(rows, map[string]any{"address": key.address, "node": node, "pod": key.pod, "peak": use.peak,
			"ports": key.class.ports(), "from": key.class.from, "to": key.class.to})
		ports += key.class.ports()
	}
	text := fmt.Sprintf("%s while the node that puts its own address in place of the clients' had no source port left: %s",
		plural(blocked, "connection timed out before it was established", "connections timed out before they were established"), listed(words))
	if short[0].class.most < portClasses()[2].least {
		text += fmt.Sprintf(", which is all it has for clients that dial from a port of %d to %d", short[0].class.least, short[0].class.most)
	}
	slow := s.slowConnects()
	if slow.late > 0 {
		text += fmt.Sprintf("; %s a second or more to connect, until a SYN that was sent again got one", plural(slow.late, "other took", "others took"))
	}
	remedies := []Remedy{}
	if s.externalPolicy() == "Cluster" && slices.Contains([]string{"nodePort", "loadBalancer"}, s.plan.Target) {
		remedies = append(remedies, Remedy{What: "externalTrafficPolicy: Local, and nodes dialled that have a pod: no node puts its own address in place of the client's then, so that none needs ports",
			Predicted: map[string]any{"timeouts": timeouts - blocked}})
	}
	remedies = append(remedies, Remedy{What: "another pod, or another node that is dialled: each node has as many ports again towards each pod",
		Predicted: map[string]any{"connections": ports + short[0].class.ports()}})
	if low := short[0].class; low.most < portClasses()[2].least {
		remedies = append(remedies, Remedy{What: "clients that leave the choice of their port to the kernel instead of taking one below 1024 (for NFS: noresvport)",
			Predicted: map[string]any{"connections": portClasses()[2].ports()}})
	}
	remedies = append(remedies,
		Remedy{What: "fewer connections at a time, each with more requests: a pool, HTTP/2, a proxy in front"},
		Remedy{What: "watch insert_failed in conntrack -S on the node: it counts the SYNs that got no port"})
	j.add(Finding{
		Code: SNATPortPressure, Severity: Error, Stream: s.name, Summary: text,
		Evidence: map[string]any{"timeouts": timeouts, "withoutPort": blocked, "paths": rows, "connects": slow.established, "slowConnects": slow.late, "slowest": slow.longest},
		Remedies: remedies,
	})
}

// nodeBehind returns the node that masquerades with an address: its own, or the gateway of its pods.
func (t *traffic) nodeBehind(address string) string {
	ip, _ := netip.ParseAddr(address) // not valid: no node's
	return cmp.Or(nodeWithAddress(t.facts, ip), nodeWithGateway(t.facts, ip))
}

func placedAt(address, node string) string {
	if node == "" {
		return address
	}
	return fmt.Sprintf("%s (%s)", node, address)
}

// slowConnects says how long connections took to be established.
type slowConnects struct {
	established, late, between int
	median, longest            float64 // seconds
}

const (
	// synAgain is from when a SYN must have been sent again, in seconds: the kernel does so after one.
	synAgain = 0.95
	// slowAnyway is from when connecting is slow, in seconds, whether or not a SYN was sent again.
	slowAnyway = 0.3
)

func (t *traffic) slowConnects() slowConnects {
	var took []float64
	out := slowConnects{}
	for _, row := range t.rows {
		if row.Connected == 0 {
			continue
		}
		d := row.Connected - row.Opened
		took = append(took, d)
		switch {
		case d >= synAgain:
			out.late++
		case d >= slowAnyway:
			out.between++
		}
	}
	if len(took) == 0 {
		return out
	}
	slices.Sort(took)
	out.established, out.median, out.longest = len(took), median(took), took[len(took)-1]
	return out
}

// doubtConnects notes connections that must have sent their SYN more than once: whole seconds apart from the others. A name
// that has to be resolved, or TLS, makes connecting slow for reasons of its own.
func (j *judge) doubtConnects(s *subject) {
	slow := s.slowConnects()
	if slow.late == 0 || slow.between >= slow.late || slow.median >= slowAnyway || !s.overTCP() || s.plan.TLS || s.plan.Target == "headless" || j.has(s.name, SNATPortPressure) {
		return
	}
	j.note("%s: %d of %d connections took a second or more to be established (up to %s s), the others %s at the median: a SYN got no answer and was sent again. "+
		"Packets were lost on the way, or the queue of the pod's listener was full (nstat: TcpExtListenOverflows), or a node's masquerade clashed on a source port (conntrack -S: insert_failed).",
		s.name, slow.late, slow.established, figure(slow.longest), milliseconds(slow.median))
}

// has reports whether a stream has a finding.
func (j *judge) has(stream string, code Code) bool {
	return slices.ContainsFunc(j.findings, func(f Finding) bool { return f.Stream == stream && f.Code == code })
}

// mostOpen is the most connections that were established at a time in a window.
func (t *traffic) mostOpen(rec *record.Record, w window) int {
	u, end := snatUse{}, secondsOf(rec)
	for _, row := range t.rows {
		if s := (window{max(row.Connected, w.from), min(cmp.Or(row.Closed, end), w.to)}); row.Connected != 0 && s.from <= s.to {
			u.spans = append(u.spans, s)
		}
	}
	u.sweep(math.MaxInt)
	return u.peak
}
