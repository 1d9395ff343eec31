package analyze_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// rush is two clients outside that open 600 connections at once through one node to a pod of another, from ports of their own
// choice, and keep those that come through.
type rush struct {
	through   int  // connections that came through
	first     int  // of their own ports
	local     bool // externalTrafficPolicy
	unsaid    bool // those that failed do not say where they had left from
	ends      float64
	again     int     // of those that came through, had to send their SYN again
	elsewhere float64 // half of those that came through end at this time; 0: none
}

func (r rush) record() *record.Record {
	scene := simulate.Scene{Seed: 7, Placement: []int{0, 1}, ExternalLocal: r.local, Streams: []simulate.Stream{
		{Name: "outside", Vantage: "external", Target: "nodePort", Clients: 2, Connections: 300, TargetNodes: []int{0}},
	}}
	if r.local {
		scene.Streams[0].TargetNodes = []int{1}
	}
	rec := scene.Record()
	rec.Tallies, rec.Servers = nil, nil
	rec.Streams[0].ConnectTimeout = 2.5
	if r.unsaid && r.first < 1024 {
		rec.Streams[0].SourcePorts = &record.PortRange{From: r.first, To: r.first + 299}
	}
	slices.SortStableFunc(rec.Connections, func(a, b record.Connection) int { return a.ID - b.ID })
	for i := range rec.Connections {
		r.place(rec, i)
	}
	return rec
}

// place makes of the i-th connection what became of it, and of its only request.
func (r rush) place(rec *record.Record, i int) {
	c := &rec.Connections[i]
	seen, _ := netip.ParseAddrPort(c.Observed)
	own, _ := netip.ParseAddrPort(c.Local)
	tally := record.Tally{Stream: c.Stream, Agent: c.Agent, Address: c.Address, Requests: 1}
	c.Local = netip.AddrPortFrom(own.Addr(), uint16(r.first+i/2)).String()
	c.Opened, c.Connected, c.Closed = 0.01, 0.02, r.ends
	if i < r.through {
		if i < r.again {
			c.Connected = 1.02
		}
		if r.elsewhere > 0 && i%2 == 0 {
			c.Closed = r.elsewhere
		}
		if !r.local {
			c.Observed = netip.AddrPortFrom(seen.Addr(), uint16(600+i)).String()
		}
		tally.Backend, tally.Observed = c.Backend, seen.Addr().String()
		tally.Latency.Add(2_000_000, 1)
	} else {
		c.Connected, c.Closed, c.Requests, c.Backend, c.Observed, c.ServerConn = 0, 2.51, 0, "", "", 0
		c.Error, c.ErrorDetail = record.ErrTimeout, "dial tcp: i/o timeout"
		tally.Errors = map[record.ErrorKind]int{record.ErrTimeout: 1}
		if r.unsaid {
			c.Local = ""
		}
	}
	rec.Tallies = append(rec.Tallies, tally)
}

func TestANodeThatHasNoSourcePortLeft(t *testing.T) {
	for name, c := range map[string]struct {
		rush rush
		want string // part of the finding; "": none
	}{
		"all 424 are taken":                          {rush{through: 424, first: 600, ends: 2.5}, "176 connections timed out before they were established"},
		"all but three, which are not found":         {rush{through: 421, first: 600, ends: 2.5}, "with 421 connections at a time on the 424 ports from 600 to 1023"},
		"those that failed do not say from where":    {rush{through: 424, first: 600, ends: 2.5, unsaid: true}, "176 connections timed out"},
		"all 511 of the lowest":                      {rush{through: 511, first: 1, ends: 2.5}, "on the 511 ports from 1 to 511"},
		"a fifth of the ports was free":              {rush{through: 340, first: 600, ends: 2.5}, ""},
		"ordinary ports, of which there are plenty":  {rush{through: 424, first: 40000, ends: 2.5}, ""},
		"ordinary ports, as far as is known":         {rush{through: 424, first: 40000, ends: 2.5, unsaid: true}, ""},
		"the clients' addresses are their own":       {rush{through: 424, first: 600, ends: 2.5, local: true}, ""},
		"ports were free again when a SYN came":      {rush{through: 424, first: 600, ends: 2.5, elsewhere: 1.5}, ""},
		"they ended when nobody waited any more":     {rush{through: 424, first: 600, ends: 2.5, elsewhere: 2.4}, "176 connections timed out"},
		"a few got one by sending their SYN again":   {rush{through: 424, first: 600, ends: 2.5, again: 3}, "; 3 others took a second or more to connect"},
		"nobody timed out":                           {rush{through: 600, first: 600, ends: 2.5}, ""},
		"the dials ended with the ports still taken": {rush{through: 424, first: 600, ends: 9}, "176 connections timed out"},
	} {
		r := report(t, c.rush.record())
		if c.want == "" {
			if has(r, analyze.SNATPortPressure) {
				t.Errorf("%s: found %s", name, finding(t, r, analyze.SNATPortPressure).Summary)
			}
			continue
		}
		if !has(r, analyze.SNATPortPressure) {
			t.Errorf("%s: not among %v", name, found(r))
			continue
		}
		if f := finding(t, r, analyze.SNATPortPressure); !strings.Contains(f.Summary, c.want) || f.Severity != analyze.Error {
			t.Errorf("%s: %s %s, want %q", name, f.Severity, f.Summary, c.want)
		}
		for _, code := range []analyze.Code{analyze.FailingBackend, analyze.MeasurementArtefact, analyze.NoLocalEndpoint, analyze.UnexplainedSkew} {
			if has(r, code) {
				t.Errorf("%s: found %s, too", name, code)
			}
		}
	}
}

func TestStreamsShareTheSourcePortsOfANode(t *testing.T) {
	rec := rush{through: 424, first: 600, ends: 2.5}.record()
	second := rec.Streams[0]
	second.ID, second.Client = "others", "others"
	rec.Streams = append(rec.Streams, second)
	for i := range rec.Connections { // those that came through are one's, those that did not another's, but for one
		if c := &rec.Connections[i]; c.Error != "" || i == 0 {
			c.Stream, rec.Tallies[i].Stream = "others", "others"
		}
	}
	r := report(t, rec)
	f := finding(t, r, analyze.SNATPortPressure)
	if f.Stream != "others" || !strings.Contains(f.Summary, "with 424 connections at a time") {
		t.Errorf("%s: %s", f.Stream, f.Summary)
	}
}

func TestConnectsThatTookASecondAreNoted(t *testing.T) {
	const words = "a SYN got no answer and was sent again"
	for name, c := range map[string]struct {
		again int
		with  func(rec *record.Record)
		want  string
	}{
		"nobody was slow":   {0, func(*record.Record) {}, ""},
		"two were":          {2, func(*record.Record) {}, "outside: 2 of 600 connections took a second or more to be established (up to 1.01 s), the others 10 ms at the median"},
		"all were":          {600, func(*record.Record) {}, ""},
		"TLS may be slow":   {2, func(rec *record.Record) { rec.Streams[0].TLS = true }, ""},
		"many were half so": {2, func(rec *record.Record) { halfSlow(rec, 50) }, ""},
	} {
		rec := rush{through: 600, first: 40000, ends: 2.5, again: c.again}.record()
		c.with(rec)
		r := report(t, rec)
		at := slices.IndexFunc(r.Notes, func(note string) bool { return strings.Contains(note, words) })
		switch {
		case c.want == "" && at >= 0:
			t.Errorf("%s: %s", name, r.Notes[at])
		case c.want != "" && (at < 0 || !strings.HasPrefix(r.Notes[at], c.want)):
			t.Errorf("%s: notes %q, want one that begins with %q", name, r.Notes, c.want)
		}
	}
}

// halfSlow has n connections take half a second.
func halfSlow(rec *record.Record, n int) {
	for i := range n {
		rec.Connections[len(rec.Connections)-1-i].Connected = 0.51
	}
}

func TestTheMostConnectionsAtATime(t *testing.T) {
	rec := rush{through: 424, first: 600, ends: 2.5, elsewhere: 1.5}.record()
	for _, c := range []struct {
		expect analyze.Expectation
		want   string
	}{
		{analyze.Expectation{Metric: "openConnections", Stream: "outside"}, "openConnections is 424 "},
		{analyze.Expectation{Metric: "openConnections", Stream: "outside", From: 2}, "openConnections is 212 "},
		{analyze.Expectation{Metric: "openConnections", Stream: "outside", From: 3}, "openConnections is 0 "},
	} {
		limit := 1e6
		c.expect.Below = &limit
		r, err := analyze.Analyze(rec, []analyze.Expectation{c.expect}, analyze.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Expectations[0]; !got.Passed || !strings.Contains(got.Detail, c.want) {
			t.Errorf("%+v, want %q", got, c.want)
		}
	}
}
