package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// scanned reads a line by the scanner alone.
func scanned(line []byte) (rec *Record, ok bool, err error) {
	r := &reader{rec: &Record{}, scanner: scanner{names: map[string]string{}}}
	ok, err = r.scan(line)
	return r.rec, ok, err
}

// plain reads a line by encoding/json alone.
func plain(line []byte) (*Record, error) {
	r := &reader{rec: &Record{}}
	var l Line
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, err
	}
	return r.rec, r.keep(&l)
}

func TestTheScannerReadsWhatIsWritten(t *testing.T) {
	for _, line := range []string{
		`{"connections":[]}`,
		`{"connections":[{"stream":"web","agent":"web-0","id":1,"slot":0,"address":"10.96.0.1:80","local":"10.1.2.3:4","opened":0.000000312,"connected":1.25,"requests":7,"backend":"echo-1","observed":"10.1.2.3:4","serverConn":12}]}`,
		`{"connections":[{"stream":"web","agent":"web-0","id":1,"slot":0,"address":"a","opened":3.1234567890123456,"closed":-0,"requests":0,"error":"reset","errorDetail":"read: connection reset"},{}]}`,
		`{"samples":[{"s":"web","a":"web-0","c":1,"t":1e-7,"d":0.5,"l":12.000001},{"s":"web","a":"web-0","c":1,"t":1,"l":2,"e":"timeout"}]}`,
		`{"columns":{"s":"web","a":"web-0","c":[1,0,2],"t":[1000,-5,17],"l":[1,2,3],"d":[0,0,9],"e":{"timeout":[1]}}}`,
		`{"columns":{"s":"","a":"","c":[],"t":[],"l":[]}}`,
	} {
		got, ok, err := scanned([]byte(line + "\n"))
		want, plainErr := plain([]byte(line + "\n"))
		if !ok || err != nil || plainErr != nil {
			t.Errorf("%s: scanned %v, %v; plain %v", line, ok, err, plainErr)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-plain +scanned):\n%s", line, diff)
		}
	}
}

func TestTheScannerLeavesTheUnusualAlone(t *testing.T) {
	for _, line := range []string{
		`{"connections":[{"others":{"a":1}}]}`, `{"connections":[{"backend":"ä"}]}`, `{"connections":[{"backend":"a\u0041"}]}`, `{"connections":[{"id":1.0}]}`,
		`{"connections":[{"id":01}]}`, `{"connections":[{"ID":1}]}`, `{"connections":[{"id":1}],"tallies":[]}`, `{"connections":null}`, `{"connections":[{"id":null}]}`,
		`{"connections" :[]}`, `{"samples":[{"l":.5}]}`, `{"samples":[{"l":5.}]}`, `{"samples":[{"l":1e}]}`, `{"samples":[{"l":"1"}]}`, `{"columns":{"c":[1,]}}`,
		`{"columns":{"c":[1e3]}}`, `{"columns":{"e":{},"e":{}}}`, `{"connections":[{"serverConn":-1}]}`, `{"connections":[]}}`, `{"connections":[`, `{"end":{}}`,
	} {
		rec, ok, _ := scanned([]byte(line + "\n"))
		if ok || len(rec.Connections)+len(rec.Samples) > 0 {
			t.Errorf("%s: it was read: %+v", line, rec)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(`{"connections":[{"id":1,"opened":0.1,"backend":"a"},{"requests":-3}]}`))
	f.Add([]byte(`{"samples":[{"s":"web","a":"b","c":1,"t":1.5,"l":123456789.123456789}]}`))
	f.Add([]byte(`{"columns":{"s":"web","a":"b","c":[1,0],"t":[5,-5],"l":[1,999999999999999999],"d":[1,2],"e":{"other":[0,1]}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = append(bytes.ReplaceAll(line, []byte("\n"), nil), '\n')
		got, ok, err := scanned(line)
		if !ok {
			return
		}
		want, plainErr := plain(line)
		if (err == nil) != (plainErr == nil) {
			t.Fatalf("%q: scanned %v, plain %v", line, err, plainErr)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err == nil && diff != "" {
			t.Fatalf("%q: (-plain +scanned):\n%s", line, diff)
		}
	})
}

func TestSamplesSurviveTheirColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rec := &Record{Run: Run{ID: "x"}}
	for i := range 20_000 {
		s := Sample{Stream: "web", Agent: fmt.Sprint("web-", i/7000), Connection: 1 + rng.IntN(50), Sent: float64(rng.IntN(1e9)) / 1e9, Latency: float64(rng.IntN(1e7)) / 1e9}
		if i%100 == 0 {
			s.Error, s.Late = ErrTimeout, 0.25
		}
		rec.Samples = append(rec.Samples, s)
	}
	rec.Samples = append(rec.Samples, Sample{Stream: "web", Agent: "odd", Connection: -1, Sent: 1e12, Latency: 1e300})
	var buf bytes.Buffer
	if err := Write(&buf, rec); err != nil {
		t.Fatal(err)
	}
	file := buf.Bytes()
	got, _, err := Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec.Samples, got.Samples); diff != "" {
		t.Fatal(diff)
	}
	brief, _, err := ReadWith(bytes.NewReader(file), ReadOptions{LatenciesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pairsOf(latenciesOf(rec.Samples)), pairsOf(brief.Latencies)); diff != "" || len(brief.Samples) > 0 {
		t.Errorf("(-from samples +from columns):\n%s", diff)
	}
}

// pairsOf lists connection and bucket of all latencies, whatever pieces they come in.
func pairsOf(list []Latencies) (out []string) {
	for _, l := range list {
		for i := range l.Buckets {
			out = append(out, fmt.Sprint(l.Agent, l.Connections[i], l.Buckets[i]))
		}
	}
	return out
}

func TestHostileColumnsAreRefused(t *testing.T) {
	run := `{"run":{"id":"x"},"apiVersion":"podskew.dev/v1alpha1"}` + "\n"
	for name, c := range map[string]struct{ line, want string }{
		"unequal columns":             {`{"columns":{"c":[1],"t":[1,2],"l":[1]}}`, "line 2: the columns of samples are not equally long"},
		"a failure out of range":      {`{"columns":{"c":[1],"t":[1],"l":[1],"e":{"other":[1]}}}`, "line 2: a failed sample that is not there"},
		"a failure before the first":  {`{"columns":{"c":[1],"t":[1],"l":[1],"e":{"other":[-1]}}}`, "line 2: a failed sample"},
		"a time beyond all":           {`{"columns":{"c":[1],"t":[999999999999999999],"l":[1]}}`, "line 2: a number out of range"},
		"differences that add up":     {`{"columns":{"c":[4294967295,1],"t":[1,1],"l":[1,1]}}`, "line 2: a number out of range"},
		"very many rows in one line":  {`{"connections":[{}` + strings.Repeat(",{}", maxObjects/10) + `]}`, "objects in one line"},
		"very many samples in a line": {`{"columns":{"c":[1` + strings.Repeat(",1", maxColumn) + `],"t":[],"l":[]}}`, "not equally long"},
		"a broken row":                {`{"connections":[{"id":1},{"id":"x"}]}`, "line 2: byte "},
		"a broken line":               {`{"connections":[{"id":1},}`, "line 2: byte 26"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Read(strings.NewReader(run + c.line + "\n"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// recorded returns the file of a run with so many samples on a thousand connections, and so many connections.
func recorded(tb testing.TB, samples, connections int) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(&buf, Run{ID: "x"})
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for done := 0; done < samples; done += columnChunk {
		rows := make([]Sample, min(columnChunk, samples-done))
		for i := range rows {
			rows[i] = Sample{Stream: "web", Agent: "web-0", Connection: 1 + rng.IntN(1000), Sent: float64(done+i) * 1e-6, Latency: float64(200_000+rng.IntN(400_000)) * 1e-9}
		}
		if err := w.Write(Line{Samples: rows}); err != nil {
			tb.Fatal(err)
		}
	}
	for done := 0; done < connections; done += chunk {
		rows := make([]Connection, min(chunk, connections-done))
		for i := range rows {
			at := float64(done+i) * 1e-5
			rows[i] = Connection{
				Stream: "web", Agent: "web-0", ID: done + i + 1, Slot: i % 8, Address: "10.96.0.10:80", Local: fmt.Sprintf("10.244.1.7:%d", 20000+i),
				Opened: at, Connected: at + 0.000123456, Closed: at + 0.0005, Requests: 1, Backend: fmt.Sprintf("echo-%d", rng.IntN(10)),
				Observed: fmt.Sprintf("10.244.1.7:%d", 20000+i), ServerConn: uint64(done + i),
			}
		}
		if err := w.Write(Line{Connections: rows}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Write(Line{End: &End{Seconds: 10}}); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func benchmarkRead(b *testing.B, samples, connections int, opts ReadOptions) {
	b.Helper()
	file := recorded(b, samples, connections)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var rec *Record
	for b.Loop() {
		var err error
		if rec, _, err = ReadWith(bytes.NewReader(file), opts); err != nil {
			b.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(len(file))/(1<<20), "file-MB")
	b.ReportMetric(max(0, float64(after.HeapSys)-float64(before.HeapSys))/(1<<20), "heap-MB") // the system may have got some back
	runtime.KeepAlive(rec)
}

func BenchmarkRead10MillionSamples(b *testing.B) {
	benchmarkRead(b, 10_000_000, 0, ReadOptions{LatenciesOnly: true})
}

func BenchmarkRead1MillionConnections(b *testing.B) {
	benchmarkRead(b, 0, 1_000_000, ReadOptions{})
}
