package analyze_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

// smallScenes are quick to analyze, one of every kind.
func smallScenes() []simulate.Scene {
	return []simulate.Scene{
		{Placement: []int{1, 2}, Streams: []simulate.Stream{{Name: "web", Clients: 2, Connections: 8, Requests: 20, Spread: 0.5}}},
		{Placement: []int{1, 1, 0}, ExternalLocal: true, Streams: []simulate.Stream{{Name: "outside", Vantage: "external", Target: "nodePort", Connections: 12}}},
		{Placement: []int{1, 1}, AffinitySeconds: 2, Streams: []simulate.Stream{{Name: "a", Clients: 4, Connections: 5}, {Name: "b", Vantage: "node", Connections: 3}}},
	}
}

// full adds what the simulation leaves out.
func full(rec *record.Record) *record.Record {
	st := rec.Streams[0]
	g := record.Generator{Stream: st.ID, Agent: st.Agents[0].Name, Driver: "conn", Seconds: 10, CPUSeconds: 9.9, CPULimit: 1, Busy: 0.95, Intended: 10, Dropped: 1,
		OutOfPorts: 2, ReusedPorts: 3, DroppedRows: 1, Conntrack: &record.Conntrack{Max: 10, Peak: 10, Full: true}}
	g.Lateness.Add(1e8, 10)
	rec.Generators = append(rec.Generators, g)
	rec.Events = append(rec.Events, record.Event{At: 2, What: "scale to 4"})
	for _, c := range rec.Connections {
		rec.Samples = append(rec.Samples, record.Sample{Stream: c.Stream, Agent: c.Agent, Connection: c.ID, Sent: c.Opened, Latency: 0.001})
	}
	return rec
}

// Whatever a record holds, an analysis ends with a report that can be written, or with an error.
func analyzed(t *testing.T, rec *record.Record) {
	t.Helper()
	r, err := analyze.Analyze(rec, nil, analyze.Options{})
	if err != nil {
		return
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("the report cannot be written: %v", err)
	}
}

func TestHostileRecords(t *testing.T) {
	runs := 1200
	if testing.Short() || slowdown > 1 {
		runs = 200
	}
	scenes := smallScenes()
	for i := range runs {
		rng := rand.New(rand.NewPCG(uint64(i), 5))
		scene := scenes[i%len(scenes)]
		scene.Seed = uint64(i)
		rec := full(scene.Record())
		for range 1 + rng.IntN(6) {
			ruin(reflect.ValueOf(rec).Elem(), rng)
			ruinOne(rec, rng)
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) { analyzed(t, rec) })
	}
}

// ruinOne spoils a row of a kind that there are many of.
func ruinOne(rec *record.Record, rng *rand.Rand) {
	v := reflect.ValueOf(rec).Elem()
	name := []string{"Tallies", "Connections", "Generators", "Servers", "Samples"}[rng.IntN(5)]
	if rows := v.FieldByName(name); rows.Len() > 0 {
		ruin(rows.Index(rng.IntN(rows.Len())), rng)
	}
}

// ruin changes one value somewhere in v.
func ruin(v reflect.Value, rng *rand.Rand) {
	switch v.Kind() {
	case reflect.Pointer:
		switch {
		case v.IsNil():
		case rng.IntN(4) == 0:
			v.SetZero()
		default:
			ruin(v.Elem(), rng)
		}
	case reflect.Struct:
		if f := v.Field(rng.IntN(v.NumField())); f.CanSet() {
			ruin(f, rng)
		}
	case reflect.Slice:
		ruinSlice(v, rng)
	case reflect.String:
		v.SetString([]string{"", "x", "web", "10.78.16.1", "echo-a0", "127.0.0.1:80", "url", "headless", "podIP", "loadBalancer", "clusterIP", "udp", "ipvs", "none", "ClientIP", "Local"}[rng.IntN(16)])
	case reflect.Int:
		v.SetInt([]int64{-1, 0, 1, 7, 1_000_000, 900_000_000_000, 1 << 62, -1 << 62}[rng.IntN(8)])
	case reflect.Uint64, reflect.Uint32:
		v.SetUint([]uint64{0, 1, 1 << 31, 1<<32 - 1}[rng.IntN(4)])
	case reflect.Float64:
		v.SetFloat([]float64{-1, 0, 1, 1e300, -1e300, 1e-300}[rng.IntN(6)])
	case reflect.Bool:
		v.SetBool(!v.Bool())
	default: // times and maps stay
	}
}

// ruinSlice drops, doubles, swaps or ruins elements.
func ruinSlice(v reflect.Value, rng *rand.Rand) {
	if v.Len() == 0 {
		return
	}
	at := rng.IntN(v.Len())
	switch rng.IntN(8) {
	case 0:
		v.SetZero()
	case 1:
		v.Set(v.Slice(0, at))
	case 2:
		v.Set(reflect.AppendSlice(v.Slice(0, at), v.Slice(at, v.Len())))
		v.Set(reflect.Append(v, v.Index(at)))
	default:
		ruin(v.Index(at), rng)
	}
}

func FuzzAnalyzeFile(f *testing.F) {
	for i, scene := range smallScenes() {
		scene.Seed = uint64(i)
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		rec := full(scene.Record())
		lines := []record.Line{{Run: &rec.Run, Version: record.Version}, {Facts: &rec.Facts}, {FactsAfter: rec.FactsAfter}}
		for i := range rec.Streams {
			lines = append(lines, record.Line{Stream: &rec.Streams[i]})
		}
		lines = append(lines, record.Line{Connections: rec.Connections}, record.Line{Tallies: rec.Tallies}, record.Line{Generator: &rec.Generators[0]}, record.Line{End: rec.End})
		for _, s := range rec.Servers {
			lines = append(lines, record.Line{Server: &s})
		}
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, _, err := record.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		analyzed(t, rec)
	})
}
