package record

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// byJSON writes rows as a file has them, without the encoder of this package.
func byJSON(rows []Connection) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(Line{Connections: rows})
	return line.Bytes(), err
}

// filled sets every field of a row, so that one which the encoder forgets is missed.
func filled(t *testing.T, rng *rand.Rand) Connection {
	t.Helper()
	var c Connection
	texts := []string{"", "a", "echo-7d9c5b6f4-x2x9z", "10.0.0.1:80", "[::1]:8080", "a<b>&c", "read tcp 10.0.0.1:1->10.0.0.2:2: reset"}
	numbers := []float64{0, 1, -1.5, 1e-7, -1e-9, 1e21, 1e20, 0.1 + 0.2, 123456.789012345, math.MaxFloat64, math.SmallestNonzeroFloat64, 5e-324, 1e-6, math.Copysign(0, -1)}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(texts[rng.IntN(len(texts))])
		case reflect.Int:
			f.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, 42}[rng.IntN(6)])
		case reflect.Uint64:
			f.SetUint([]uint64{0, 1, math.MaxUint64}[rng.IntN(3)])
		case reflect.Float64:
			f.SetFloat(numbers[rng.IntN(len(numbers))])
		case reflect.Map:
			c.Others = []map[string]int{nil, {"b": 1}, {"b": 2, "a": 3, "": 0}}[rng.IntN(3)]
		default:
			t.Fatalf("the encoder knows nothing of fields like %s", v.Type().Field(i).Name)
		}
	}
	return c
}

func TestRowsAreWrittenAsByEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		rows := make([]Connection, 1+rng.IntN(3))
		for i := range rows {
			rows[i] = filled(t, rng)
		}
		want, err := byJSON(rows)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := appendConnections(nil, rows)
		if !ok {
			t.Fatalf("it gave up on %+v", rows)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got\n%s want\n%s", got, want)
		}
	}
}

func FuzzRowsAreWrittenAsByEncodingJSON(f *testing.F) {
	f.Add("web", "echo-1", "é", "detail \"quoted\"", 1.5, 1e-7, 3, 7, uint64(9))
	f.Add("w<>&", "\x7f", "\xff", "\\\n", math.Inf(1), math.NaN(), -1, 0, uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, stream, backend, other, detail string, opened, closed float64, id, n int, conn uint64) {
		rows := []Connection{{Stream: stream, ID: id, Local: detail, Opened: opened, Closed: closed, Backend: backend, ServerConn: conn, WarmUp: n, ErrorDetail: detail}}
		if other != "" {
			rows[0].Others = map[string]int{other: n, backend: id}
		}
		want, err := byJSON(rows)
		got, ok := appendConnections(nil, rows)
		if !ok {
			return // left to encoding/json
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got\n%s want\n%s%v", got, want, err)
		}
		var back Line
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, back.Connections); diff != "" {
			t.Errorf("read again (-written +read):\n%s", diff)
		}
	})
}

func FuzzNumbersAreWrittenAsByEncodingJSON(f *testing.F) {
	for _, v := range []float64{0, 1, 1e-6, 1e-9, 9.99e-7, 1.5, 123.456789012, 999999.999999999, 1e6, 1e15, -0.25, 0.1 + 0.2, 1.0000000005} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		for _, v := range []float64{v, math.Round(v*1e9) / 1e9, time.Duration(v).Seconds(), float64(int64(v)) / 1e9, math.Nextafter(float64(int64(v))/1e9, 0)} {
			want, err := json.Marshal(v)
			if err != nil {
				return
			}
			if got := appendFloat(nil, v); string(got) != string(want) {
				t.Fatalf("%v: got %s, want %s", v, got, want)
			}
		}
	})
}

// TestWhatIsKeptIsWhatIsRead compares the record that a Writer keeps with what is read of its file.
func TestWhatIsKeptIsWhatIsRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 30 {
		var file bytes.Buffer
		w, err := NewWriter(&file, Run{ID: "d0", Start: time.Now(), Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Keep(); err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(40) {
			if err := w.Write(randomLine(t, rng)); err != nil {
				t.Fatal(err)
			}
		}
		if round%3 > 0 {
			if err := w.Write(Line{End: &End{Seconds: 3, Problems: []string{"\xff"}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want, wantCut, err := ReadWith(&file, ReadOptions{LatenciesOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		got, cut, err := w.Kept()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || cut != wantCut {
			t.Fatalf("round %d: cut %v, want %v (-read +kept):\n%s", round, cut, wantCut, diff)
		}
	}
}

func randomLine(t *testing.T, rng *rand.Rand) Line {
	t.Helper()
	switch rng.IntN(8) {
	case 0:
		return Line{Facts: &Facts{At: rng.Float64(), Pods: []Pod{{Name: "a", IPs: []string{}}}}}
	case 1:
		return Line{Stream: &Stream{ID: "web", Agents: []AgentRef{{Name: "web-0"}}, Addresses: []Address{}}}
	case 2:
		var h Histogram
		h.Add(rng.Int64N(1e9), 3)
		return Line{Tallies: []Tally{{Stream: "web", Requests: 3, Errors: map[ErrorKind]int{}, Latency: h}, {Stream: "w\xff"}}}
	case 3:
		return Line{Samples: []Sample{
			{Stream: "web", Agent: "web-0", Connection: 3, Sent: rng.Float64(), Latency: rng.Float64()},
			{Stream: "web", Agent: "web-0", Connection: 4, Sent: rng.Float64(), Latency: 0.1 + 0.2, Error: ErrStatus},
			{Stream: "web", Agent: "web-0", Connection: 5, Sent: 1e300, Latency: 1, Late: 0.5, Error: ErrTimeout},
		}}
	case 4:
		return Line{Generator: &Generator{Stream: "web", WarmUp: &WarmUp{Answered: map[string]int{"a": 1}}}}
	}
	rows := make([]Connection, 1+rng.IntN(2500))
	for i := range rows {
		rows[i] = Connection{Stream: "web", Agent: "web-0", ID: 1 + rng.IntN(4000), Opened: rng.Float64(), Closed: 1 / 3.0}
	}
	for range rng.IntN(3) {
		rows[rng.IntN(len(rows))] = filled(t, rng)
	}
	switch rng.IntN(4) {
	case 0:
		rows[0].ErrorDetail = "not \xff UTF-8 é"
	case 1:
		rows[0].Others = map[string]int{}
	}
	return Line{Connections: rows}
}

func BenchmarkWriteConnections(b *testing.B) {
	rows := make([]Connection, 1000)
	for i := range rows {
		rows[i] = Connection{
			Stream: "load", Agent: "local", ID: i + 1, Slot: i % 16, Address: "127.0.0.1:18999", Local: "127.0.0.1:40000",
			Opened: float64(1_234_567_891+i*61_234) / 1e9, Connected: float64(1_234_667_891+i*61_234) / 1e9, Closed: float64(1_234_967_891+i*61_234) / 1e9, Requests: 1, Backend: "echo-7d9c5b6f4-x2x9z",
		}
	}
	b.Run("by hand", func(b *testing.B) {
		var buf []byte
		for b.Loop() {
			buf, _ = appendConnections(buf[:0], rows)
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			line, err := byJSON(rows)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(line)))
		}
	})
}
