package analyze_test

import (
	"strings"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// refusing makes pods refuse every connection that was chosen for them.
func refusing(rec *record.Record, pods ...string) *record.Record {
	is := map[string]bool{}
	for _, pod := range pods {
		is[pod] = true
	}
	rec.Servers = nil
	for i := range rec.Connections {
		if c := &rec.Connections[i]; is[c.Backend] {
			*c = record.Connection{Stream: c.Stream, Agent: c.Agent, ID: c.ID, Slot: c.Slot, Address: c.Address, Local: c.Local, Opened: c.Opened,
				Closed: c.Opened + 1e-4, Error: record.ErrRefused, ErrorDetail: "connection refused"}
		}
	}
	for i := range rec.Tallies {
		if t := &rec.Tallies[i]; is[t.Backend] {
			t.Backend, t.Observed, t.Latency = "", "", record.Histogram{}
			t.Errors = map[record.ErrorKind]int{record.ErrRefused: t.Requests}
		}
	}
	return rec
}

// unlisted adds a pod that is ready and in no EndpointSlice.
func unlisted(rec *record.Record) *record.Record {
	pod := record.Pod{Name: "echo-lost", UID: "uid-lost", Role: "echo", IPs: []string{"10.78.32.99"}, Node: "worker2", Ready: true}
	rec.Facts.Pods, rec.FactsAfter.Pods = append(rec.Facts.Pods, pod), append(rec.FactsAfter.Pods, pod)
	return rec
}

func TestFailuresArePutDownToThePodsTheyWereMeantFor(t *testing.T) {
	scene := simulate.Scene{Seed: 3, Placement: []int{2, 2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 3, Connections: 200}}}
	for name, c := range map[string]struct {
		rec  func() *record.Record
		want string // part of the finding; "" none
	}{
		"one pod refuses all":                {func() *record.Record { return refusing(scene.Record(), "echo-b1") }, "echo-b1 on worker2 is behind all failures (110 refused)"},
		"both pods of a node refuse":         {func() *record.Record { return refusing(scene.Record(), "echo-c0", "echo-c1") }, "the pods on worker3 are behind all failures"},
		"two pods of two nodes refuse":       {func() *record.Record { return refusing(scene.Record(), "echo-a0", "echo-c1") }, ""},
		"every tenth connection fails":       {func() *record.Record { return everyTenth(scene.Record()) }, ""},
		"nothing fails and one pod is hot":   {func() *record.Record { s := scene; s.Hot = 2; return s.Record() }, ""},
		"one pod refuses from the middle on": {func() *record.Record { return late(scene.Record(), "echo-a1") }, "echo-a1 on worker is behind all failures"},
	} {
		t.Run(name, func(t *testing.T) {
			r := report(t, c.rec())
			if got := has(r, analyze.FailingBackend); got != (c.want != "") {
				t.Fatalf("found %v among %v", got, found(r))
			}
			if c.want == "" {
				return
			}
			if f := finding(t, r, analyze.FailingBackend); !strings.HasPrefix(f.Summary, c.want) {
				t.Errorf("%s: want %s", f.Summary, c.want)
			}
			if has(r, analyze.UnexplainedSkew) {
				t.Error("what is explained is called an unexplained skew as well")
			}
		})
	}
}

// everyTenth lets connections fail whatever pod they were meant for.
func everyTenth(rec *record.Record) *record.Record {
	rec.Servers = nil
	for i := range rec.Connections {
		if i%10 == 0 {
			rec.Connections[i].Backend, rec.Connections[i].Requests, rec.Connections[i].Connected = "", 0, 0
			rec.Connections[i].Error = record.ErrTimeout
		}
	}
	return rec
}

// late makes a pod refuse from two and a half seconds on.
func late(rec *record.Record, pod string) *record.Record {
	before := *rec
	before.Connections, before.Tallies = nil, nil
	after := before
	for _, c := range rec.Connections {
		if c.Opened < 3 {
			before.Connections = append(before.Connections, c)
		} else {
			after.Connections = append(after.Connections, c)
		}
	}
	for _, t := range rec.Tallies {
		if t.Second < 3 {
			before.Tallies = append(before.Tallies, t)
		} else {
			after.Tallies = append(after.Tallies, t)
		}
	}
	refusing(&after, pod)
	before.Connections, before.Tallies = append(before.Connections, after.Connections...), append(before.Tallies, after.Tallies...)
	before.Servers = nil
	return &before
}

func TestReadyPodsThatAreNoEndpointsAreNamed(t *testing.T) {
	scene := simulate.Scene{Seed: 3, Placement: []int{1, 1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 60}}}
	for name, c := range map[string]struct {
		change func(rec *record.Record)
		want   string // part of the finding; "" none
	}{
		"every pod is an endpoint": {func(*record.Record) {}, ""},
		"one is none at all":       {func(rec *record.Record) { unlisted(rec) }, "echo-lost on worker2 (of echo, all the time)"},
		"one is none any more": {func(rec *record.Record) { rec.FactsAfter.Endpoints = rec.FactsAfter.Endpoints[1:] },
			"echo-a0 on worker (of echo, at the end of the run)"},
		"one was taken away by an event": {func(rec *record.Record) {
			rec.FactsAfter.Endpoints = rec.FactsAfter.Endpoints[1:]
			rec.Events = []record.Event{{At: 2, What: "took the label away", Kind: record.EventLabel, Target: "echo-a0"}}
		}, ""},
		"one stands by": {func(rec *record.Record) {
			unlisted(rec)
			for _, f := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
				f.Pods[len(f.Pods)-1].Standby = true
			}
		}, ""},
		"one is not ready": {func(rec *record.Record) {
			unlisted(rec)
			for _, f := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
				f.Pods[len(f.Pods)-1].Ready = false
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rec := scene.Record()
			c.change(rec)
			r := report(t, rec)
			if got := has(r, analyze.MissingEndpoint); got != (c.want != "") {
				t.Fatalf("found %v among %v", got, found(r))
			}
			if c.want != "" && !strings.Contains(finding(t, r, analyze.MissingEndpoint).Summary, c.want) {
				t.Errorf("%s: want %s", finding(t, r, analyze.MissingEndpoint).Summary, c.want)
			}
		})
	}
}
