package analyze

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/podskew/podskew/analyze/skew"
	"github.com/podskew/podskew/record"
)

// Model is a Service and the load on it without a cluster: what kube-proxy chooses from, and how often it chooses.
type Model struct {
	Backends    int   `json:"backends"`            // ready pods; 0: as many as Placement holds
	Placement   []int `json:"placement,omitempty"` // pods on each node; nil: it does not matter where they are
	Connections int   `json:"connections"`
	Requests    int   `json:"requests"` // on all connections together, evenly; 0: one each
	Clients     int   `json:"clients"`  // client addresses under ClientIP affinity, each with as many connections; 0: no affinity
	// Policy is "Cluster", or "Local" where a connection reaches only pods of the node it enters at; connections enter evenly
	// at all nodes that have a pod. "": Cluster.
	Policy string  `json:"policy"`
	Hot    float64 `json:"hot"`  // factor of the share of a hot pod that a test should see; 0: 1.5
	Seed   uint64  `json:"seed"` // of the simulation
}

// Forecast is what a Model leads to: the shares that are expected, what chance makes of them, and what a test of such a run
// could see.
type Forecast struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"` // "Forecast"
	Model      Model           `json:"model"`
	Unit       string          `json:"unit"` // connection or clientIP: what kube-proxy chooses once for
	Units      int             `json:"units"`
	Shares     []ForecastShare `json:"shares"`
	Metrics    []Measure       `json:"metrics"`
	Free       bool            `json:"free"`      // kube-proxy has a choice; otherwise chance plays no part
	SomeIdle   float64         `json:"someIdle"`  // probability that some pod gets no unit
	MaxShare   float64         `json:"maxShare"`  // the busiest pod's share on average
	Simulated  int             `json:"simulated"` // outcomes behind means and ranges
	Detection  Detection       `json:"detection"`
	Even       Even            `json:"even"`
	Notes      []string        `json:"notes"`
}

// ForecastShare is what each of some pods gets.
type ForecastShare struct {
	Pods     int     `json:"pods"`           // with this share
	Node     string  `json:"node,omitempty"` // that they are on, where that matters
	Expected float64 `json:"expected"`       // of all units
	Chance   Range   `json:"chance"`         // 95 % of outcomes
}

// Measure is one metric of an uneven distribution under chance alone.
type Measure struct {
	Name   string  `json:"name"` // as in a report: maxOverMean, cv, gini, jain, effectiveBackends, idleBackends, dispersion
	Mean   float64 `json:"mean"`
	Chance Range   `json:"chance"` // 95 % of outcomes
}

// Detection is what a test of the units at Alpha sees.
type Detection struct {
	Alpha          float64 `json:"alpha"`
	Power          float64 `json:"power"`          // probability that SmallestFactor is seen
	SmallestFactor float64 `json:"smallestFactor"` // of one pod's share; 0: none can be seen
	Hot            float64 `json:"hot"`            // the factor asked about
	HotPower       float64 `json:"hotPower"`       // probability that it is seen with Units
	HotUnits       int     `json:"hotUnits"`       // units from which on it is seen with probability Power; 0: with no number
}

// Even is how many units it takes for an even distribution.
type Even struct {
	MaxOverMean float64 `json:"maxOverMean"` // not exceeded
	Level       float64 `json:"level"`       // with this probability
	Units       int     `json:"units"`       // from this number on; 0: chance plays no part, or no number does
}

// Limits of a model, and what its questions are about unless told otherwise.
const (
	MaxModelBackends    = 100_000
	MaxModelConnections = 1_000_000_000

	forecastDraws = 20_000
	evenFactor    = 1.2
	evenLevel     = 0.95
	policyLocal   = "Local"
	policyCluster = "Cluster"
	forecastKind  = "Forecast"
	countsKind    = "CountsReport"
)

// checked returns the model with its defaults, or what is wrong with it.
func (m Model) checked() (Model, error) {
	pods := 0
	for _, x := range m.Placement {
		if x < 0 {
			return m, fmt.Errorf("%d pods on a node", x)
		}
		pods += x
	}
	if m.Backends == 0 {
		m.Backends = pods
	}
	if m.Policy == "" {
		m.Policy = policyCluster
	}
	if m.Requests == 0 {
		m.Requests = m.Connections
	}
	if m.Hot == 0 {
		m.Hot = usualFactor
	}
	switch {
	case m.Backends < 1:
		return m, errors.New("a Service needs at least 1 backend")
	case m.Backends > MaxModelBackends:
		return m, fmt.Errorf("%d backends: at most %d", m.Backends, MaxModelBackends)
	case m.Connections < 1:
		return m, errors.New("at least 1 connection is needed")
	case m.Connections > MaxModelConnections:
		return m, fmt.Errorf("%d connections: at most %d", m.Connections, MaxModelConnections)
	case m.Placement != nil && pods != m.Backends:
		return m, fmt.Errorf("the nodes hold %d pods, not %d", pods, m.Backends)
	case m.Policy != policyCluster && m.Policy != policyLocal:
		return m, fmt.Errorf("policy %q: it is Cluster or Local", m.Policy)
	case m.Policy == policyLocal && m.Placement == nil:
		return m, errors.New("with policy Local it matters which nodes the pods are on: give the pods on each node")
	case m.Requests < m.Connections:
		return m, fmt.Errorf("%d requests leave %d connections without any", m.Requests, m.Connections-m.Requests)
	case m.Clients < 0 || m.Clients > m.Connections:
		return m, fmt.Errorf("%d client addresses for %d connections", m.Clients, m.Connections)
	case m.Hot <= 1:
		return m, fmt.Errorf("a hot pod gets more than its share, not %v times", m.Hot)
	}
	return m, nil
}

// Forecast predicts what the model leads to. The same model gives the same forecast; the error says what is wrong with the
// model. Cost grows with backends, hardly with connections: 10,000 backends and 10 million connections take seconds.
func (m Model) Forecast() (*Forecast, error) {
	m, err := m.checked()
	if err != nil {
		return nil, err
	}
	f := &Forecast{APIVersion: record.Version, Kind: forecastKind, Model: m, Unit: unitConnection, Units: m.Connections, Notes: []string{}}
	if m.Clients > 0 {
		f.Unit, f.Units = unitClientIP, m.Clients
	}
	groups, rows := m.groups(f.Units)
	law, err := skew.NewLaw(m.Backends, groups)
	if err != nil {
		return nil, fmt.Errorf("modelling the choices: %w", err)
	}
	f.Simulated = law.ChanceDraws(forecastDraws)
	chance := law.Chance(skew.NewSeed("forecast", fmt.Sprint(m.Seed)), f.Simulated)
	f.fill(law, chance, rows)
	f.ask(law)
	f.note()
	roundValue(reflect.ValueOf(f).Elem())
	return f, nil
}

// groups returns the units as they enter, and the rows of shares: one for each kind of backend, with its first backend.
func (m Model) groups(units int) (groups []skew.Group, rows []modelRow) {
	if m.Policy != policyLocal {
		return []skew.Group{{Units: units, P: slices.Repeat([]float64{1 / float64(m.Backends)}, m.Backends)}},
			[]modelRow{{pods: m.Backends}}
	}
	entries := 0
	for _, pods := range m.Placement {
		if pods > 0 {
			entries++
		}
	}
	first, entry, given := 0, 0, 0
	for i, pods := range m.Placement {
		if pods == 0 {
			continue
		}
		entry++
		g := skew.Group{Units: units*entry/entries - given, P: make([]float64, m.Backends)}
		given += g.Units
		for b := range pods {
			g.P[first+b] = 1 / float64(pods)
		}
		groups = append(groups, g)
		rows = append(rows, modelRow{node: fmt.Sprintf("node %d", i+1), pods: pods, first: first})
		first += pods
	}
	return groups, rows
}

type modelRow struct {
	node        string
	pods, first int
}

func (f *Forecast) fill(law *skew.Law, chance *skew.Chance, rows []modelRow) {
	units := float64(f.Units)
	for _, row := range rows {
		f.Shares = append(f.Shares, ForecastShare{
			Pods: row.pods, Node: row.node,
			Expected: law.Expected()[row.first] / units, Chance: Range(chance.Shares[row.first]),
		})
	}
	mean := chance.Mean
	f.Metrics = []Measure{
		{"maxOverMean", mean.MaxOverMean, Range(chance.MaxOverMean)},
		{"cv", mean.CV, Range(chance.CV)},
		{"gini", mean.Gini, Range(chance.Gini)},
		{"jain", mean.Jain, Range(chance.Jain)},
		{"effectiveBackends", mean.Effective, Range(chance.Effective)},
		{"idleBackends", law.ExpectedIdle(), Range(chance.Idle)},
		{"dispersion", mean.Dispersion, Range(chance.Dispersion)},
	}
	f.MaxShare = mean.MaxOverMean / float64(f.Model.Backends)
	f.Free = law.Free()
	none := 1.0 // probability that no pod is idle, node by node
	for _, row := range rows {
		none *= 1 - skew.SomeIdle(row.pods, int(math.Round(law.Expected()[row.first]*float64(row.pods))))
	}
	f.SomeIdle = 1 - none
	if f.Model.Policy != policyLocal {
		// All backends are equally likely: what is exact replaces what was simulated.
		low, high := skew.MaxRange(f.Model.Backends, f.Units, skew.ChanceLevel)
		perUnit := float64(f.Model.Backends) / units
		f.Metrics[0].Chance = Range{float64(low) * perUnit, float64(high) * perUnit}
	}
}

// ask answers how large a skew would be seen, and how many units an even distribution takes.
func (f *Forecast) ask(law *skew.Law) {
	need := skew.Need{Backends: 0, Share: 1, Alpha: defaultAlpha, Power: usualPower}
	for _, e := range law.Expected() {
		if e > 0 {
			need.Backends++
			need.Share = min(need.Share, e/float64(f.Units))
		}
	}
	f.Detection = Detection{Alpha: need.Alpha, Power: need.Power, Hot: f.Model.Hot}
	f.Even = Even{MaxOverMean: evenFactor, Level: evenLevel}
	if !f.Free {
		return
	}
	f.Detection.SmallestFactor = need.SmallestFactor(f.Units)
	if f.Model.Hot*need.Share <= 1 {
		f.Detection.HotPower = need.PowerAt(f.Units, f.Model.Hot)
		f.Detection.HotUnits = need.Units(f.Model.Hot)
	}
	if f.Model.Policy != policyLocal {
		f.Even.Units = skew.UnitsForMax(f.Model.Backends, evenFactor, evenLevel)
	}
}

func (f *Forecast) note() {
	m := f.Model
	note := func(format string, args ...any) { f.Notes = append(f.Notes, fmt.Sprintf(format, args...)) }
	if m.Requests > f.Units {
		note("Requests follow their %s: more requests on it change no share and widen no range.", f.unitWords())
	}
	if m.Clients > 0 {
		note("Under ClientIP affinity a client address is placed once per node it enters at; the forecast takes one node for each.")
	}
	if m.Policy == policyLocal && slices.Contains(m.Placement, 0) {
		note("Nodes without a pod are left out: a load balancer's health check takes them out of rotation. Without one, connections to them time out.")
	}
	if m.Policy == policyLocal {
		note("How uneven the shares are is designed here: no number of connections evens them out.")
	}
}

func (f *Forecast) unitWords() string {
	if f.Unit == unitClientIP {
		return "client address"
	}
	return "connection"
}
