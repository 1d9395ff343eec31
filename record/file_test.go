package record_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

func whole() *record.Record {
	rec := &record.Record{
		Run:     record.Run{ID: "d0", Scenario: "keepalive", Start: time.Date(2026, 11, 20, 3, 4, 5, 6, time.UTC), Seed: 7, Tool: "v0"},
		Facts:   record.Facts{At: -1, Cluster: record.Cluster{Provider: "lab", Nodes: []record.Node{{Name: "worker", IPs: []string{"10.77.0.11"}}}}},
		Streams: []record.Stream{{ID: "web", Client: "web", Agents: []record.AgentRef{{Name: "web-0"}}}},
		Samples: []record.Sample{{Stream: "web", Agent: "web-0", Connection: 1, Sent: .5, Latency: .001}},
		Events:  []record.Event{{At: 2, What: "scale echo to 12"}},
		End:     &record.End{Seconds: 5},
	}
	rec.FactsAfter = &record.Facts{At: 5}
	for i := range 2500 {
		rec.Connections = append(rec.Connections, record.Connection{Stream: "web", Agent: "web-0", ID: i + 1, Backend: "echo-<&>", Requests: 3})
	}
	var h record.Histogram
	h.Add(1_000_000, 3)
	rec.Tallies = []record.Tally{{Stream: "web", Agent: "web-0", Backend: "a", Requests: 3, Errors: map[record.ErrorKind]int{record.ErrReset: 1}, Latency: h}}
	return rec
}

func encoded(t *testing.T, rec *record.Record) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := record.Write(&buf, rec); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestWriteThenReadGivesTheSameRecord(t *testing.T) {
	want := whole()
	got, cut, err := record.Read(bytes.NewReader(encoded(t, want)))
	if err != nil || cut {
		t.Fatalf("Read: cut %v, err %v", cut, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlainLinesAreReadToo(t *testing.T) {
	in := `{"run":{"id":"x","scenario":"s","start":"2026-11-20T00:00:00Z","seed":1,"tool":""},"apiVersion":"podskew.dev/v1alpha1"}` + "\n" + `{"end":{"seconds":1}}` + "\n"
	rec, cut, err := record.Read(strings.NewReader(in))
	if err != nil || cut || rec.Run.ID != "x" || rec.End == nil {
		t.Fatalf("got %+v, cut %v, err %v", rec, cut, err)
	}
}

func TestARecordCutAnywhereKeepsItsWholeLines(t *testing.T) {
	full := whole()
	data := encoded(t, full)
	for _, share := range []float64{.3, .6, .9} {
		rec, cut, err := record.Read(bytes.NewReader(data[:int(share*float64(len(data)))]))
		if err != nil {
			t.Fatalf("cut at %.3f: %v", share, err)
		}
		if !cut || rec.End != nil {
			t.Errorf("cut at %.3f: cut %v, end %v", share, cut, rec.End)
		}
		if len(rec.Connections)%1000 != 0 && len(rec.Connections) != len(full.Connections) {
			t.Errorf("cut at %.3f: %d connections: not a whole number of lines", share, len(rec.Connections))
		}
	}
}

func TestFlushedLinesSurviveWithoutClose(t *testing.T) {
	var buf bytes.Buffer
	w, err := record.NewWriter(&buf, record.Run{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := w.Write(record.Line{Connections: []record.Connection{{ID: i + 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	rec, cut, err := record.Read(bytes.NewReader(buf.Bytes()))
	if err != nil || !cut || len(rec.Connections) != 3 {
		t.Fatalf("connections %d, cut %v, err %v", len(rec.Connections), cut, err)
	}
}

func TestTheLastRowOfAConnectionCounts(t *testing.T) {
	rec := &record.Record{Run: record.Run{ID: "x"}, Connections: []record.Connection{
		{Stream: "web", Agent: "a", ID: 1, Requests: 5},
		{Stream: "web", Agent: "b", ID: 1, Requests: 6},
		{Stream: "web", Agent: "a", ID: 1, Requests: 9, Closed: 2},
	}}
	got, _, err := record.Read(bytes.NewReader(encoded(t, rec)))
	if err != nil {
		t.Fatal(err)
	}
	want := []record.Connection{
		{Stream: "web", Agent: "a", ID: 1, Requests: 9, Closed: 2},
		{Stream: "web", Agent: "b", ID: 1, Requests: 6},
	}
	if diff := cmp.Diff(want, got.Connections); diff != "" {
		t.Error(diff)
	}
}

func TestWritesAfterCloseFail(t *testing.T) {
	w, err := record.NewWriter(&bytes.Buffer{}, record.Run{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(record.Line{}); err == nil {
		t.Error("a write after Close succeeded")
	}
}

func TestWhatIsNotARecordSaysSo(t *testing.T) {
	run := `{"run":{"id":"x"},"apiVersion":"podskew.dev/v1alpha1"}` + "\n"
	var empty bytes.Buffer
	gz := gzip.NewWriter(&empty)
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ in, want string }{
		"an empty file":                 {"", "no run line"},
		"an empty gzip file":            {empty.String(), "no run line"},
		"a gzip header cut":             {"\x1f\x8b\x08", "gzip header"},
		"text":                          {"hello\n", "line 1"},
		"a second run line":             {run + run, "line 2"},
		"no run line first":             {`{"end":{"seconds":1}}` + "\n", "line 1"},
		"a record of another version":   {`{"run":{"id":"x"},"apiVersion":"podskew.dev/v9"}` + "\n", "podskew.dev/v9"},
		"a broken line in the middle":   {run + "{\n" + run, "line 2"},
		"a number where text is wanted": {run + `{"connections":[{"backend":1}]}` + "\n", "backend"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := record.Read(strings.NewReader(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var buf bytes.Buffer
	if err := record.Write(&buf, &record.Record{Run: record.Run{ID: "x"}, End: &record.End{}}); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add([]byte(`{"run":{"id":"x"},"apiVersion":"podskew.dev/v1alpha1"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, _, err := record.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := record.Write(&again, rec); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, _, err := record.Read(&again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if diff := cmp.Diff(rec.Run, back.Run); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestQuantilesAreAtMostOnePercentAboveTheTruth(t *testing.T) {
	var h record.Histogram
	for i := int64(1); i <= 100_000; i++ {
		h.Add(i*1000, 1) // 1 µs to 100 ms
	}
	for _, q := range []float64{.001, .5, .9, .99, 1} {
		truth := q * 0.1
		got := h.Quantile(q)
		if got < truth*(1-1e-9) || got > truth*1.008 {
			t.Errorf("quantile %v: got %v, true %v", q, got, truth)
		}
	}
	if got := h.Count(); got != 100_000 {
		t.Errorf("Count %d", got)
	}
}

func TestBucketsAreOrderedAndHoldTheirUpperEnd(t *testing.T) {
	for d := int64(0); d < 1<<20; d = d + 1 + d/50 {
		i := record.BucketIndex(d)
		up := record.BucketUpper(i)
		if up < d || record.BucketIndex(up) != i || record.BucketIndex(up+1) != i+1 {
			t.Fatalf("%d ns: bucket %d, upper %d, next %d", d, i, up, record.BucketIndex(up+1))
		}
	}
}

func TestMergingHistogramsIsTheSameInAnyOrder(t *testing.T) {
	var a, b, ab, ba record.Histogram
	for i := range int64(500) {
		a.Add(i*i*977, 1)
		b.Add(i*1_000_003, 2)
	}
	ab.Merge(a)
	ab.Merge(b)
	ba.Merge(b)
	ba.Merge(a)
	if diff := cmp.Diff(ab.Buckets, ba.Buckets); diff != "" {
		t.Error(diff)
	}
	if ab.Count() != 1500 || fmt.Sprintf("%.9f", ab.Mean()) != fmt.Sprintf("%.9f", ba.Mean()) {
		t.Errorf("count %d, means %v %v", ab.Count(), ab.Mean(), ba.Mean())
	}
	if (record.Histogram{}).Quantile(.5) != 0 || (record.Histogram{}).Mean() != 0 {
		t.Error("an empty histogram must answer 0")
	}
}
