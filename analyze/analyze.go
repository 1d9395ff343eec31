package analyze

import (
	"errors"

	"github.com/podskew/podskew/record"
)

// ErrEmpty is returned for a record that holds no stream: there is nothing to analyze.
var ErrEmpty = errors.New("the record holds no stream")

// Options tune an analysis. The zero value is what a report normally wants.
type Options struct {
	// Alpha is the false-alarm budget of the whole report: the probability that a run in which everything follows the
	// settings gets a finding above info from a test. 0: 0.01.
	Alpha float64
}

// Analyze turns a record into a report and checks the expectations against it. It reads rec without changing or
// keeping it. The same record, expectations and options give the same report, byte for byte when marshalled. The error
// is [ErrEmpty] or says which part of the record cannot be made sense of; a run that went badly is no error.
func Analyze(rec *record.Record, expect []Expectation, opts Options) (*Report, error) {
	if len(rec.Streams) == 0 {
		return nil, ErrEmpty
	}
	streams, err := collect(rec)
	if err != nil {
		return nil, err
	}
	j := &judge{rec: rec, family: runTests(rec, streams, opts.Alpha)}
	r := header(rec, j.family.alpha)
	for _, t := range streams {
		j.subjects = append(j.subjects, describe(rec, t, j.family))
	}
	addHistories(rec, j.subjects)
	j.conclude()
	for _, s := range j.subjects {
		r.Streams = append(r.Streams, *s.report)
	}
	r.Paths = pathsOf(rec, j.subjects)
	r.Events = j.eventReports()
	r.Findings, r.Notes = j.findings, j.notes
	r.BothEnds, r.Servers = j.ends, j.servers
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	roundReport(r)
	j.check(r, expect)
	return r, nil
}

// header fills in what the report repeats from the record.
func header(rec *record.Record, alpha float64) *Report {
	r := &Report{
		APIVersion: record.Version, Kind: "Report",
		Run: Run{
			ID: rec.Run.ID, Scenario: rec.Run.Scenario, Start: rec.Run.Start, Seed: rec.Run.Seed, Tool: rec.Run.Tool, Alpha: alpha,
			Interrupted: rec.End == nil || rec.End.Interrupted, Seconds: secondsOf(rec),
		},
		Cluster: ClusterInfo{Provider: rec.Facts.Cluster.Provider, Version: rec.Facts.Cluster.Version, ProxyMode: rec.Facts.Cluster.ProxyMode, CNI: rec.Facts.Cluster.CNI},
	}
	r.Cluster.Nodes = []NodeInfo{}
	for _, n := range rec.Facts.Cluster.Nodes {
		r.Cluster.Nodes = append(r.Cluster.Nodes, NodeInfo{
			Name: n.Name, IPs: append([]string{}, n.IPs...), PodCIDRs: append([]string{}, n.PodCIDRs...), Zone: n.Zone, External: n.External,
		})
	}
	if s := findService(&rec.Facts, rec.Streams[0].Service); s != nil {
		r.Service = new(*s)
	}
	return r
}

// secondsOf is how long the run took; of a record that was cut, as far as its rows tell.
func secondsOf(rec *record.Record) float64 {
	if rec.End != nil {
		return rec.End.Seconds
	}
	last := 0.0
	for i := range rec.Connections {
		c := &rec.Connections[i]
		last = max(last, c.Opened, c.Connected, c.Closed)
	}
	return last
}
