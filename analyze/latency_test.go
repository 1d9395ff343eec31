package analyze_test

import (
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// timed adds a sample for each connection: 1 ms, or 50 ms for every twentieth on the slow pod, fewer than one in a hundred of all.
func timed(rec *record.Record, slow string) *record.Record {
	nth := 0
	for i := range rec.Connections {
		c := &rec.Connections[i]
		took := 0.001
		if c.Backend == slow {
			if nth++; nth%20 == 0 {
				took = 0.05
			}
		}
		rec.Samples = append(rec.Samples, record.Sample{Stream: c.Stream, Agent: c.Agent, Connection: c.ID, Latency: took})
	}
	return rec
}

func TestWhichPodIsSlow(t *testing.T) {
	for _, c := range []struct {
		name    string
		rec     *record.Record
		slowest string // "": nothing was tested
		sure    bool
	}{
		{"a slow pod", timed(fresh().Record(), "echo-b0"), "echo-b0", true},
		{"too few samples", timed(simulate.Scene{Seed: 7, Placement: []int{1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 400}}}.Record(), "echo-b0"), "", false},
		{"too few connections", timed(simulate.Scene{Seed: 7, Placement: []int{1, 1}, Streams: []simulate.Stream{{Name: "web", Connections: 4, Requests: 500}}}.Record(), "echo-b0"), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tail := report(t, c.rec).Streams[0].Latency.Tail
			if tail == nil {
				t.Fatal("no tail")
			}
			if tail.SlowestPod != c.slowest && (c.sure || tail.SlowestPod == "") || (tail.AdjustedP <= 0.01) != c.sure || (tail.Method == "none") == c.sure {
				t.Errorf("%+v", *tail)
			}
			if c.sure && (tail.SlowestRate < 0.045 || tail.SlowestRate > 0.05) {
				t.Errorf("%v of its requests are slow, want a twentieth", tail.SlowestRate)
			}
		})
	}
}

// Below a hundred answers there is no tail; from 368 fresh connections a p99 has an interval with two ends, on reused ones never.
func TestTailsNeedNumbers(t *testing.T) {
	run := func(connections, requests int) *analyze.Stream {
		scene := simulate.Scene{Seed: 7, Placement: []int{1}, Streams: []simulate.Stream{{Name: "web", Connections: connections, Requests: requests}}}
		return &report(t, scene.Record()).Streams[0]
	}
	for _, c := range []struct {
		name                  string
		connections, requests int
		tail, interval        bool
	}{
		{"99 answers", 99, 1, false, false},
		{"100 answers", 100, 1, true, false},
		{"367 fresh connections", 367, 1, true, false},
		{"368 fresh connections", 368, 1, true, true},
		{"368 reused ones", 368, 5, true, false},
	} {
		s := run(c.connections, c.requests)
		in := s.Backends[0].P99Interval
		if (s.Latency.Tail != nil) != c.tail || (in != nil) != c.interval {
			t.Errorf("%s: tail %v, interval %v", c.name, s.Latency.Tail, in)
		}
		if in != nil && (in[0] > s.Backends[0].P99 || in[1] < s.Backends[0].P99) {
			t.Errorf("%s: p99 %v is outside %v", c.name, s.Backends[0].P99, *in)
		}
	}
}
