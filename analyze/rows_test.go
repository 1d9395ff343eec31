package analyze_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

func streamOf(t *testing.T, rec *record.Record) analyze.Stream {
	t.Helper()
	r, err := analyze.Analyze(rec, nil, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Streams[0]
}

// What drawings are made from has to add up to what the tables say, whatever the size of a run.
func TestDrawingsAddUpToTheTables(t *testing.T) {
	rows := []struct {
		name  string
		scene simulate.Scene
		drawn bool // connection by connection
	}{
		{"a few connections", simulate.Scene{Placement: []int{2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 3, Connections: 20, Requests: 4, Spread: 0.5}}}, true},
		{"more connections than are listed", simulate.Scene{Placement: []int{2, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 3, Connections: 200, Requests: 4}}}, false},
		{"more pods and clients than are told apart", simulate.Scene{Placement: []int{50, 50}, Streams: []simulate.Stream{{Name: "web", Clients: 90, Connections: 8, Requests: 2}}}, false},
		{"nodes that replace the address", simulate.Scene{Placement: []int{1, 3}, Streams: []simulate.Stream{{Name: "out", Vantage: "external", Target: "nodePort", Clients: 2, Connections: 60}}}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := streamOf(t, row.scene.Record())
			answered, connections := 0, 0
			for _, b := range s.Backends {
				answered += b.Requests
				connections += b.Connections
			}
			if got := total(s.Matrix.Requests); got != answered {
				t.Errorf("the matrix has %d requests, the pods answered %d", got, answered)
			}
			if got := total(s.Matrix.Connections); got != connections {
				t.Errorf("the matrix has %d connections, the pods %d", got, connections)
			}
			if len(s.Matrix.Clients) > 64 || len(s.Matrix.Backends) > 64 || len(s.Flows) > 420 || len(s.UnitLoads) > 1000 {
				t.Error("a drawing is larger than a page has room for")
			}
			flow, units := 0, 0
			for _, f := range s.Flows {
				flow += f.Requests
			}
			for _, u := range s.UnitLoads {
				units += u.Units
			}
			if flow != answered || units != s.Test.Units {
				t.Errorf("flows carry %d of %d requests, loads are of %d of %d units", flow, answered, units, s.Test.Units)
			}
			if drawn := len(s.ConnectionRows) > 0; drawn != row.drawn || (s.OpenConnections == nil) != row.drawn {
				t.Errorf("connections one by one: %v, want %v", drawn, row.drawn)
			}
		})
	}
}

func total(rows [][]int) int {
	sum := 0
	for _, row := range rows {
		for _, n := range row {
			sum += n
		}
	}
	return sum
}

func TestOpenConnectionsAreMeansOverTime(t *testing.T) {
	rec := simulate.Scene{Placement: []int{1}, Streams: []simulate.Stream{{Name: "web", Clients: 1, Connections: 600}}}.Record()
	rec.End.Seconds = 60
	for i := range rec.Connections { // each of 600 is open for the first half
		rec.Connections[i].Opened, rec.Connections[i].Connected, rec.Connections[i].Closed = 0, 0.001, 30
	}
	s := streamOf(t, rec)
	want := make([]float64, 60)
	for i := range 30 {
		want[i] = 600
	}
	if diff := cmp.Diff(want, s.OpenConnections.Mean[0]); diff != "" {
		t.Error(diff)
	}
	if s.OpenConnections.Step != 1 {
		t.Errorf("a slice is %g seconds, want 1", s.OpenConnections.Step)
	}
}
