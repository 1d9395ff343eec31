package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// OpenLoop says how far an open loop kept to its schedule. Latencies are counted from the intended time, so they include lateness.
type OpenLoop struct {
	Intended int     `json:"intended"` // requests that were due; 0: not known
	Sent     int     `json:"sent"`     // of these
	Dropped  int     `json:"dropped"`  // of these, never sent
	LateP50  float64 `json:"lateP50"`  // seconds from intended to actual sending
	LateP99  float64 `json:"lateP99"`
	LateMax  float64 `json:"lateMax"`
	From     string  `json:"from"` // generators: of every request; samples: of those that were kept

	late float64 // seconds, mean
}

// GeneratorLoad is what one source of load says about itself.
type GeneratorLoad struct {
	Agent    string   `json:"agent"`
	Driver   string   `json:"driver"`
	Cores    float64  `json:"cores"`              // processors in use on average; 0: not known
	Limit    float64  `json:"limit,omitempty"`    // cores it may use; 0: not known
	Busy     float64  `json:"busy,omitempty"`     // share of the time in which its busiest loop had work; 0: not known
	HeldBack float64  `json:"heldBack,omitempty"` // seconds that connections waited for results to be taken
	Limits   []string `json:"limits,omitempty"`   // clauses: what it, not the target, was short of
}

// Thresholds from which a generator is said to have been the limit.
const (
	busyFrom     = 0.9   // of the time in its busiest loop, or of the cores it may use
	lateFrom     = 0.010 // seconds, at the 99th percentile
	latePart     = 0.1   // and of the time between two requests of one source
	heldBackFrom = 0.01  // of the time
	reusedFrom   = 0.05  // of the connections
	crowdedFrom  = 0.8   // of the connections busy on average, from which a request finds none free
)

func (t *traffic) generators(rec *record.Record) []*record.Generator {
	var all []*record.Generator
	for i := range rec.Generators {
		if g := &rec.Generators[i]; g.Stream == t.plan.ID {
			all = append(all, g)
		}
	}
	slices.SortStableFunc(all, func(a, b *record.Generator) int { return cmp.Compare(a.Agent, b.Agent) })
	return all
}

// openLoop sums up the schedule; nil for a closed loop.
func (t *traffic) openLoop(rec *record.Record) *OpenLoop {
	if t.plan.Rate <= 0 && len(t.plan.Rates) == 0 {
		return nil
	}
	o := &OpenLoop{From: "generators"}
	var late record.Histogram
	for _, g := range t.generators(rec) {
		o.Intended += max(0, g.Intended)
		o.Dropped += max(0, g.Dropped)
		late.Merge(g.Lateness)
	}
	if late.Count() == 0 {
		o.From = "samples"
		for i := range rec.Samples {
			if s := &rec.Samples[i]; s.Stream == t.plan.ID && s.Late >= 0 && s.Late < 1e6 {
				late.Add(int64(s.Late*1e9), 1)
			}
		}
	}
	o.Sent = o.Intended - o.Dropped
	if o.Intended == 0 {
		for _, s := range t.strata {
			o.Sent += s.sent
		}
	}
	o.LateP50, o.LateP99, o.LateMax, o.late = late.Quantile(0.5), late.Quantile(0.99), late.Quantile(1), late.Mean()
	return o
}

// limits are the clauses that say what a generator was short of.
func limits(g *record.Generator) (GeneratorLoad, []string) {
	load := GeneratorLoad{Agent: g.Agent, Driver: g.Driver, Limit: max(0, g.CPULimit), Busy: g.Busy, HeldBack: g.HeldBack}
	if g.Seconds > 0 {
		load.Cores = g.CPUSeconds / g.Seconds
	}
	var short []string
	if g.Busy >= busyFrom {
		short = append(short, fmt.Sprintf("its busiest loop had work %s of the time", percent(g.Busy)))
	}
	if load.Limit > 0 && load.Cores >= busyFrom*load.Limit {
		short = append(short, fmt.Sprintf("it used %s of the %s cores it may use", figure(load.Cores), figure(load.Limit)))
	}
	if g.Seconds > 0 && g.HeldBack >= heldBackFrom*g.Seconds {
		short = append(short, fmt.Sprintf("its connections waited %s s for results to be taken", figure(g.HeldBack)))
	}
	if c := g.Conntrack; c != nil && c.HeldBack > 0 {
		short = append(short, fmt.Sprintf("%s opened late or not at all, so that the conntrack table would not fill", plural(c.HeldBack, "connection was", "connections were")))
	}
	load.Limits = short
	return load, short
}

// generatorLimited says that the source of the load, and not the target, set the pace.
func (j *judge) generatorLimited(s *subject) {
	s.report.OpenLoop = s.openLoop(j.rec)
	var words []string
	rows := []map[string]any{}
	for _, g := range s.generators(j.rec) {
		load, short := limits(g)
		s.report.Generators = append(s.report.Generators, load)
		if len(short) > 0 {
			words = append(words, fmt.Sprintf("%s: %s", g.Agent, strings.Join(short, ", ")))
			rows = append(rows, map[string]any{"agent": g.Agent, "driver": g.Driver, "busy": g.Busy, "cores": load.Cores, "cpuLimit": load.Limit, "heldBack": g.HeldBack})
		}
	}
	evidence := map[string]any{"generators": rows, "busyFrom": busyFrom, "lateFrom": s.lateFrom()}
	remedies := []Remedy{{What: "more clients, or a machine of their own for them, until this finding is gone; until then rates and latencies are lower bounds of what the target can do"}}
	if o := s.report.OpenLoop; o != nil && (o.LateP99 >= s.lateFrom() || o.Dropped > 0) {
		words = append(words, o.lateness())
		evidence["lateP50"], evidence["lateP99"], evidence["dropped"], evidence["intended"] = o.LateP50, o.LateP99, o.Dropped, o.Intended
		if busy := s.busyConnections(o.late); busy >= crowdedFrom*float64(s.plan.Connections) && s.plan.Connections > 0 {
			evidence["busyConnections"], evidence["connections"] = busy, s.plan.Connections
			words = append(words, fmt.Sprintf("%s of %d connections were busy on average, so that requests waited for a free one", figure(busy), s.plan.Connections))
			remedies = append([]Remedy{{What: fmt.Sprintf("at least %d connections for this rate at this latency", int(2*busy)+1), Predicted: map[string]any{"connections": int(2*busy) + 1}}}, remedies...)
		}
	}
	if len(words) == 0 {
		return
	}
	severity := Info // where connections go does not depend on how fast they come
	if s.report.OpenLoop != nil {
		severity = Warning // a schedule that is not kept is not what was asked for
	}
	j.add(Finding{
		Code: GeneratorLimited, Severity: severity, Stream: s.name,
		Summary:  fmt.Sprintf("the source of the load was a limit of its own: %s", listed(words)),
		Evidence: evidence, Remedies: remedies,
	})
}

// lateFrom is how late requests are of a source that does not keep its schedule: never less than a busy machine's timers
// are, and a notable part of the time between two requests of one source.
func (t *traffic) lateFrom() float64 {
	rate := t.plan.Rate
	for _, step := range t.plan.Rates {
		rate = max(rate, step.Rate)
	}
	if rate <= 0 {
		return lateFrom
	}
	return max(lateFrom, latePart*float64(max(1, len(t.plan.Agents)))/rate)
}

func (o *OpenLoop) lateness() string {
	text := fmt.Sprintf("requests were sent %s late at the 99th percentile", milliseconds(o.LateP99))
	if o.Dropped > 0 {
		text = fmt.Sprintf("%d of %d requests that were due were never sent, and the others %s late at the 99th percentile", o.Dropped, o.Intended, milliseconds(o.LateP99))
	}
	return text
}

// busyConnections is the mean number of requests under way: their rate times their mean latency (Little 1961), less how late they
// were sent on average, as they did not occupy a connection before.
func (t *traffic) busyConnections(late float64) float64 {
	var all record.Histogram
	for _, b := range slices.Concat(t.backends, t.foreign) {
		all.Merge(b.latency)
	}
	seconds := t.tallySpan[1] - t.tallySpan[0]
	if seconds <= 0 {
		return 0
	}
	return max(0, all.Mean()-late) * float64(all.Count()) / seconds
}

// starved says that the machine of a source of load, or the table on the way, ran out of something: what failed then says nothing
// about the target.
func (j *judge) starved(s *subject) {
	var words []string
	var remedies []Remedy
	rows := []map[string]any{}
	reused := 0
	for _, g := range s.generators(j.rec) {
		reused += max(0, g.ReusedPorts)
		row := map[string]any{"agent": g.Agent}
		if c := g.Conntrack; c != nil && c.Full {
			words = append(words, fmt.Sprintf("the conntrack table of %s was full (%d of %d entries), so that the kernel dropped new connections", g.Agent, c.Peak, c.Max))
			row["conntrackPeak"], row["conntrackMax"] = c.Peak, c.Max
			remedies = append(remedies, Remedy{What: "a larger net.netfilter.nf_conntrack_max on the machine whose table was full"})
		}
		if g.OutOfPorts > 0 {
			words = append(words, fmt.Sprintf("%s had no port, descriptor or memory left for %s%s", g.Agent, plural(g.OutOfPorts, "connection", "connections"), portsOf(g)))
			remedies = append(remedies, Remedy{What: "fewer connections at a time, or more source addresses: each has ports of its own"})
			row["outOfPorts"], row["localPorts"] = g.OutOfPorts, g.LocalPorts
		}
		if len(row) > 1 {
			rows = append(rows, row)
		}
	}
	if opened := s.opened(); float64(reused) > reusedFrom*float64(max(opened, 1)) {
		j.note("%s: %d of %d connections left from an address and port used before: where conntrack still knew the pair, they went to the pod of the one before.",
			s.name, reused, opened)
	}
	if len(words) == 0 {
		return
	}
	j.add(Finding{
		Code: MeasurementArtefact, Severity: Warning, Stream: s.name,
		Summary:  fmt.Sprintf("%s: failures of this stream are not the target's", listed(words)),
		Evidence: map[string]any{"generators": rows, "errors": s.report.Errors},
		Remedies: distinct(remedies),
	})
}

// distinct keeps the first of equal remedies.
func distinct(remedies []Remedy) []Remedy {
	seen := map[string]bool{}
	return slices.DeleteFunc(remedies, func(r Remedy) bool {
		again := seen[r.What]
		seen[r.What] = true
		return again
	})
}

// portsOf says how many ports a source has, where they may be what it lacked.
func portsOf(g *record.Generator) string {
	if g.LocalPorts <= 0 {
		return ""
	}
	return fmt.Sprintf(" (its source ports towards one address: %d)", g.LocalPorts)
}
