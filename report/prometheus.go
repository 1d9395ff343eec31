package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// Prometheus writes the report in Prometheus' text exposition format (version 0.0.4), for a Pushgateway or the node
// exporter's textfile collector. All metrics are gauges: a run is over, nothing in it grows.
func Prometheus(w io.Writer, r *analyze.Report) error {
	e := &exposition{}
	e.run(r)
	e.streams(r)
	e.backends(r)
	if _, err := io.WriteString(w, e.out.String()); err != nil {
		return fmt.Errorf("writing the report for Prometheus: %w", err)
	}
	return nil
}

// exposition collects metric families; the rows of a family stand together.
type exposition struct{ out strings.Builder }

// label is a name and a value.
type label struct{ name, value string }

func (e *exposition) family(name, help string) {
	fmt.Fprintf(&e.out, "# HELP %[1]s %[2]s\n# TYPE %[1]s gauge\n", name, help)
}

func (e *exposition) sample(name string, value float64, labels ...label) {
	e.out.WriteString(name)
	for i, l := range labels {
		mark := ","
		if i == 0 {
			mark = "{"
		}
		fmt.Fprintf(&e.out, `%s%s="%s"`, mark, l.name, labelValue(l.value))
	}
	if len(labels) > 0 {
		e.out.WriteByte('}')
	}
	e.out.WriteString(" " + promNumber(value) + "\n")
}

// labelText is text as labels show it.
func labelText(s string) string { return strings.ReplaceAll(clean(s), nbsp, " ") }

// labelValue escapes what the format gives a meaning.
func labelValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(labelText(s))
}

func promNumber(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "+Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	default:
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (e *exposition) run(r *analyze.Report) {
	e.family("podskew_run_info", "The run these metrics are of.")
	e.sample("podskew_run_info", 1, label{"run", r.Run.ID}, label{"scenario", r.Run.Scenario}, label{"provider", r.Cluster.Provider},
		label{"version", r.Cluster.Version}, label{"proxy_mode", r.Cluster.ProxyMode})
	if !r.Run.Start.IsZero() {
		e.family("podskew_run_start_timestamp_seconds", "When the load started, as Unix time.")
		e.sample("podskew_run_start_timestamp_seconds", float64(r.Run.Start.UnixMilli())/1000)
	}
	e.family("podskew_run_duration_seconds", "How long the load ran.")
	e.sample("podskew_run_duration_seconds", r.Run.Seconds)
	e.family("podskew_passed", "1 if every expectation holds.")
	e.sample("podskew_passed", truth(r.Passed))
	e.family("podskew_expectations", "Expectations by result.")
	bad := failed(r.Expectations)
	e.sample("podskew_expectations", float64(applicable(r.Expectations)-bad), label{"result", "passed"})
	e.sample("podskew_expectations", float64(bad), label{"result", "failed"})
	e.findings(r)
}

// findings counts findings by code, severity and stream.
func (e *exposition) findings(r *analyze.Report) {
	counts := map[[3]string]int{}
	for _, f := range r.Findings {
		counts[[3]string{labelText(string(f.Code)), labelText(string(f.Severity)), labelText(f.Stream)}]++
	}
	if len(counts) == 0 {
		return
	}
	e.family("podskew_findings", "Findings by code, severity and stream.")
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
		e.sample("podskew_findings", float64(counts[k]), label{"code", k[0]}, label{"severity", k[1]}, label{"stream", k[2]})
	}
}

// streamLabels tell streams apart; a number does where names do not.
func streamLabels(r *analyze.Report) [][]label {
	seen := map[string]int{}
	labels := make([][]label, len(r.Streams))
	for i, s := range r.Streams {
		name := labelText(s.Client)
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, seen[name])
		}
		labels[i] = []label{{"stream", name}, {"target", s.Target}}
	}
	return labels
}

func (e *exposition) streams(r *analyze.Report) {
	if len(r.Streams) == 0 {
		return
	}
	labels := streamLabels(r)
	for _, m := range []struct {
		name, help string
		value      func(*analyze.Stream) float64
	}{
		{"podskew_stream_requests", "Requests sent, and dials that failed in their place.", func(s *analyze.Stream) float64 { return float64(s.Requests) }},
		{"podskew_stream_connections", "Connections opened or tried.", func(s *analyze.Stream) float64 { return float64(s.Connections) }},
		{"podskew_stream_requests_per_second", "Requests per second.", func(s *analyze.Stream) float64 { return s.RequestsPerSecond }},
		{"podskew_stream_max_over_mean", "The busiest pod's requests over the mean.", func(s *analyze.Stream) float64 { return s.Skew.MaxOverMean }},
		{"podskew_stream_max_over_mean_chance_low", "Low end of what chance makes of max over mean in 95 % of runs.", func(s *analyze.Stream) float64 { return s.Chance.MaxOverMean[0] }},
		{"podskew_stream_max_over_mean_chance_high", "High end of what chance makes of max over mean in 95 % of runs.", func(s *analyze.Stream) float64 { return s.Chance.MaxOverMean[1] }},
		{"podskew_stream_cv", "Coefficient of variation of the pods' requests.", func(s *analyze.Stream) float64 { return s.Skew.CV }},
		{"podskew_stream_gini", "Gini coefficient of the pods' requests.", func(s *analyze.Stream) float64 { return s.Skew.Gini }},
		{"podskew_stream_jain", "Jain's fairness index of the pods' requests.", func(s *analyze.Stream) float64 { return s.Skew.Jain }},
		{"podskew_stream_effective_backends", "Evenly loaded pods the stream was worth.", func(s *analyze.Stream) float64 { return s.Skew.EffectiveBackends }},
		{"podskew_stream_idle_backends", "Eligible pods without a request.", func(s *analyze.Stream) float64 { return float64(s.Skew.IdleBackends) }},
		{"podskew_stream_dispersion", "Dispersion index of the units.", func(s *analyze.Stream) float64 { return s.Skew.Dispersion }},
		{"podskew_stream_latency_p50_seconds", "Median latency of answered requests.", func(s *analyze.Stream) float64 { return s.Latency.P50 }},
		{"podskew_stream_latency_p99_seconds", "99th percentile of the latency of answered requests.", func(s *analyze.Stream) float64 { return s.Latency.P99 }},
		{"podskew_stream_units", "Units that were tested: connections, client addresses or flows.", func(s *analyze.Stream) float64 { return float64(s.Test.Units) }},
		{"podskew_stream_p_value", "p of the test at the unit, adjusted for all tests of the report.", func(s *analyze.Stream) float64 { return max(s.Test.P, s.Test.AdjustedP) }},
	} {
		e.family(m.name, m.help)
		for i := range r.Streams {
			e.sample(m.name, m.value(&r.Streams[i]), labels[i]...)
		}
	}
	e.errors(r, labels)
}

func (e *exposition) errors(r *analyze.Report, labels [][]label) {
	e.family("podskew_stream_errors", "Requests and dials that failed, by kind.")
	for i, s := range r.Streams {
		kinds := map[record.ErrorKind]int{record.ErrRefused: 0, record.ErrTimeout: 0}
		maps.Copy(kinds, s.Errors)
		seen := map[string]bool{}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			value := labelText(string(kind))
			if seen[value] {
				continue // two kinds that differ only in what no label shows
			}
			seen[value] = true
			e.sample("podskew_stream_errors", float64(kinds[kind]), slices.Concat(labels[i], []label{{"kind", value}})...)
		}
	}
}

func (e *exposition) backends(r *analyze.Report) {
	labels := streamLabels(r)
	found := false
	for i := range r.Streams {
		found = found || len(r.Streams[i].Backends) > 0
	}
	if !found {
		return
	}
	for _, m := range []struct {
		name, help string
		value      func(analyze.Backend) float64
	}{
		{"podskew_backend_requests", "Requests a pod answered.", func(b analyze.Backend) float64 { return float64(b.Requests) }},
		{"podskew_backend_connections", "Connections whose first answer a pod gave.", func(b analyze.Backend) float64 { return float64(b.Connections) }},
		{"podskew_backend_share", "Share of the answered requests, 0 to 1.", func(b analyze.Backend) float64 { return b.Share }},
		{"podskew_backend_expected_share", "Share that the settings ask for, 0 to 1.", func(b analyze.Backend) float64 { return b.ExpectedShare }},
		{"podskew_backend_latency_p99_seconds", "99th percentile of a pod's latency.", func(b analyze.Backend) float64 { return b.P99 }},
	} {
		e.family(m.name, m.help)
		for i, s := range r.Streams {
			seen := map[string]int{}
			for _, b := range s.Backends {
				pod := labelText(b.Pod)
				if seen[pod]++; seen[pod] > 1 {
					pod = fmt.Sprintf("%s (%d)", pod, seen[pod])
				}
				e.sample(m.name, m.value(b), slices.Concat(labels[i], []label{{"pod", pod}, {"node", b.Node}})...)
			}
		}
	}
}
