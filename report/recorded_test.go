package report

import (
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// recorded analyzes a run of the lab, anew each time.
func recorded(t *testing.T) *analyze.Report {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "cmd", "podskew", "testdata", "keepalive.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rec, _, err := record.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	expect := []analyze.Expectation{
		{Name: "finding ConnectionPinning", Finding: analyze.ConnectionPinning}, {Name: "maxOverMean below 1.1", Metric: "maxOverMean", Below: new(1.1)},
	}
	r, err := analyze.Analyze(rec, expect, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGoldenReportsOfARecord holds every format to golden files of one record, rendered twice from two analyses.
func TestGoldenReportsOfARecord(t *testing.T) {
	endings := map[string]string{"text": "txt", "wide": "wide.txt", "json": "json", "markdown": "md", "junit": "xml", "csv": "csv", "prometheus": "prom", "html": "html"}
	first, second := recorded(t), recorded(t)
	for _, format := range slices.Sorted(maps.Keys(everyFormat())) {
		out := rendered(t, format, first)
		golden(t, "recorded."+endings[format], out)
		if again := rendered(t, format, second); again != out {
			t.Errorf("%s: two analyses of one record give different reports", format)
		}
	}
	if err := validate(t, validator(t), first); err != nil {
		t.Error(err)
	}
}

// TestAVastRunMakesAPageThatCanBeRead plays 100,000 connections to 1,000 pods and holds page and report to their bounds.
func TestAVastRunMakesAPageThatCanBeRead(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("analyzing 100,000 connections takes seconds: not in short mode")
	}
	placement := make([]int, 50)
	for i := range placement {
		placement[i] = 20
	}
	rec := vastRecord(t, placement)
	r, err := analyze.Analyze(rec, nil, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for format, most := range map[string]int{"html": 5 << 20, "json": 8 << 20, "markdown": 1 << 16, "text": 1 << 14} {
		if size := len(written(t, func(w io.Writer) error { return everyFormat()[format](w, r) })); size > most {
			t.Errorf("%s: %d bytes, want at most %d", format, size, most)
		} else {
			t.Logf("%s: %d bytes", format, size)
		}
	}
}

// vastRecord is a run of 200 clients with 500 connections each, to pods placed like that.
func vastRecord(t *testing.T, placement []int) *record.Record {
	t.Helper()
	rec := simulate.Scene{Seed: 1, Placement: placement, Streams: []simulate.Stream{{Name: "web", Clients: 200, Connections: 1, Requests: 1}}}.Record()
	first, tally := rec.Connections[0], rec.Tallies[0]
	rec.Connections, rec.Tallies = nil, nil
	rng := rand.New(rand.NewPCG(5, 6))
	for _, agent := range rec.Streams[0].Agents {
		for id := range 500 {
			c, served := first, tally
			c.Agent, c.ID, c.Requests = agent.Name, id+1, 1+rng.IntN(50)
			c.Opened = 5 * rng.Float64()
			c.Connected, c.Closed = c.Opened+0.001, c.Opened+0.01*float64(c.Requests)
			c.Backend = rec.Facts.Endpoints[rng.IntN(len(rec.Facts.Endpoints))].Pod
			c.Local, c.Observed = agent.IPs[0]+":40000", agent.IPs[0]+":40000"
			served.Agent, served.Backend, served.Observed, served.Second, served.Requests = agent.Name, c.Backend, agent.IPs[0], int(c.Opened), c.Requests
			served.Latency = record.Histogram{}
			served.Latency.Add(int64(300_000+rng.IntN(1_000_000)), uint64(c.Requests)) // #nosec G115 -- small and positive
			rec.Connections, rec.Tallies = append(rec.Connections, c), append(rec.Tallies, served)
		}
	}
	if len(rec.Connections) != 100_000 {
		t.Fatalf("%d connections", len(rec.Connections))
	}
	return rec
}
