package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/report"
	"github.com/podskew/podskew/scenarios"
)

// script is what a series meets: what becomes of each run by "scenario mode", "" for one that passes.
type script struct {
	becomes  map[string]string
	clusters []string // the modes of the clusters it got
	closed   int
	none     map[string]bool // modes for which there is no cluster
	kept     bool            // clusters are not the series' own
	cancel   context.CancelCauseFunc
	lasts    []string
	died     chan struct{}
}

func (s *script) provide(_ context.Context, o clusterOptions) (*provided, error) {
	if s.none[o.proxyMode] {
		return nil, environmentError(errors.New("no cluster today"), "wait")
	}
	s.clusters, s.died = append(s.clusters, o.proxyMode), make(chan struct{})
	return &provided{
		provider: "lab", proxyMode: o.proxyMode, disposable: !s.kept, died: s.died,
		close: func(context.Context) error { s.closed++; return nil },
	}, nil
}

func (s *script) make(_ context.Context, given *provided, scenario *scenarios.Scenario, last bool) ran {
	out := ran{SummaryRun: report.SummaryRun{Report: &analyze.Report{Passed: true}}}
	name := scenario.Metadata.Name + " " + given.proxyMode
	if last {
		s.lasts = append(s.lasts, name)
	}
	switch s.becomes[name] {
	case "fails":
		out.Report.Passed = false
		out.Report.Expectations = []analyze.ExpectationResult{{Name: "finding Balanced", Detail: "it is not"}}
	case "breaks":
		out.Report, out.err = nil, environmentError(errors.New("no pod starts"), "look")
	case "kills":
		close(s.died)
		out.Report, out.err = nil, environmentError(errors.New("the lab ended in the middle of the run:\n  oops"), "")
	case "lacks":
		out.Report, out.err = nil, &cluster.LackingError{What: "haproxy is not installed"}
	case "interrupted":
		s.cancel(errInterrupted)
		out.err = errInterrupted
	}
	return out
}

// outcomes runs a series of these scenarios in both modes and returns what became of it, a line per run, and the error.
func outcomes(t *testing.T, s *script, names ...string) (lines []string, notes []string, err error) {
	t.Helper()
	var out, progress bytes.Buffer
	e := &env{stdout: &out, getenv: func(string) string { return "" }}
	var list []*scenarios.Scenario
	for _, name := range names {
		sc := &scenarios.Scenario{Metadata: scenarios.Metadata{Name: name}}
		if mode, ok := strings.CutPrefix(name, "only-"); ok {
			sc.Spec.Requires = &scenarios.Requires{ProxyModes: []string{mode}}
		}
		list = append(list, sc)
	}
	o := &runOptions{matrix: matrix{proxyModes: []string{"nftables", "iptables"}}}
	runs := e.newSeries(&status{w: &progress}, o, list)
	runs.provide, runs.make = s.provide, s.make
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.cancel = cancel
	err = runs.run(ctx)
	for _, r := range runs.sum.Runs {
		line := r.Scenario + " " + r.ProxyMode + ": " + string(r.Outcome)
		if r.Detail != "" {
			line += ": " + firstLine(errors.New(r.Detail))
		}
		lines = append(lines, line)
	}
	if out.Len() == 0 {
		t.Error("there is no summary")
	}
	return lines, runs.sum.Notes, err
}

func codeOf(err error) int { return exitCode(context.Background(), &bytes.Buffer{}, err) }

func TestSeries(t *testing.T) {
	for _, row := range []struct {
		name     string
		script   script
		list     []string
		want     []string
		notes    []string
		code     int
		clusters int
	}{
		{
			name: "all pass", list: []string{"a", "b"}, code: exitOK, clusters: 2,
			want: []string{"a nftables: passed", "b nftables: passed", "a iptables: passed", "b iptables: passed"},
		},
		{
			name: "one fails and the others go on", list: []string{"a", "b"}, code: exitExpectation, clusters: 2,
			script: script{becomes: map[string]string{"a nftables": "fails"}},
			want:   []string{"a nftables: failed", "b nftables: passed", "a iptables: passed", "b iptables: passed"},
		},
		{
			name: "what cannot run is skipped", list: []string{"only-iptables", "b"}, code: exitOK, clusters: 2,
			script: script{becomes: map[string]string{"b iptables": "lacks"}},
			want: []string{
				"only-iptables nftables: skipped: it needs kube-proxy in iptables mode, here it is in nftables mode", "b nftables: passed",
				"only-iptables iptables: passed", "b iptables: skipped: haproxy is not installed",
			},
		},
		{
			name: "nothing can run", list: []string{"a"}, code: exitEnvironment, clusters: 2,
			script: script{becomes: map[string]string{"a nftables": "lacks", "a iptables": "lacks"}},
			want:   []string{"a nftables: skipped: haproxy is not installed", "a iptables: skipped: haproxy is not installed"},
		},
		{
			name: "one breaks, the cluster does not", list: []string{"a", "b"}, code: exitEnvironment, clusters: 2,
			script: script{becomes: map[string]string{"a nftables": "breaks", "b nftables": "fails"}},
			want:   []string{"a nftables: error: no pod starts", "b nftables: failed", "a iptables: passed", "b iptables: passed"},
		},
		{
			name: "the lab dies and there is a new one", list: []string{"a", "b"}, code: exitEnvironment, clusters: 3,
			script: script{becomes: map[string]string{"a nftables": "kills"}},
			want:   []string{"a nftables: error: the lab ended in the middle of the run", "b nftables: passed", "a iptables: passed", "b iptables: passed"},
			notes:  []string{"the lab ended in the middle of the run: the series goes on with a new cluster"},
		},
		{
			name: "the new lab dies too", list: []string{"a", "b", "c"}, code: exitEnvironment, clusters: 3,
			script: script{becomes: map[string]string{"a nftables": "kills", "b nftables": "kills"}},
			want: []string{
				"a nftables: error: the lab ended in the middle of the run", "b nftables: error: the lab ended in the middle of the run",
				"c nftables: not run: the cluster failed: the lab ended in the middle of the run", "a iptables: passed", "b iptables: passed", "c iptables: passed",
			},
			notes: []string{"the lab ended in the middle of the run: the series goes on with a new cluster"},
		},
		{
			name: "two in a row break: the cluster is taken for broken", list: []string{"a", "b", "c"}, code: exitEnvironment, clusters: 3,
			script: script{becomes: map[string]string{"a nftables": "breaks", "b nftables": "breaks"}},
			want: []string{
				"a nftables: error: no pod starts", "b nftables: error: no pod starts", "c nftables: passed",
				"a iptables: passed", "b iptables: passed", "c iptables: passed",
			},
			notes: []string{"no pod starts: the series goes on with a new cluster"},
		},
		{
			name: "a cluster that is not the series' own is not replaced", list: []string{"a", "b", "c"}, code: exitEnvironment, clusters: 2,
			script: script{kept: true, becomes: map[string]string{"a nftables": "breaks", "b nftables": "breaks"}},
			want: []string{
				"a nftables: error: no pod starts", "b nftables: error: no pod starts", "c nftables: not run: the cluster failed: no pod starts",
				"a iptables: passed", "b iptables: passed", "c iptables: passed",
			},
		},
		{
			name: "no cluster for one mode", list: []string{"a"}, code: exitEnvironment, clusters: 1,
			script: script{none: map[string]bool{"nftables": true}},
			want:   []string{"a nftables: not run: there is no cluster for it: no cluster today", "a iptables: passed"},
		},
		{
			name: "an interrupt keeps what there is", list: []string{"a", "b"}, code: exitInterrupted, clusters: 1,
			script: script{becomes: map[string]string{"b nftables": "interrupted"}},
			want: []string{
				"a nftables: passed", "b nftables: interrupted: it was interrupted",
				"a iptables: not run: the series was interrupted", "b iptables: not run: the series was interrupted",
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			lines, notes, err := outcomes(t, &row.script, row.list...)
			if diff := cmp.Diff(row.want, lines); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.notes, notes); diff != "" {
				t.Error(diff)
			}
			if code := codeOf(err); code != row.code {
				t.Errorf("exit code %d (%v), want %d", code, err, row.code)
			}
			if n := len(row.script.clusters); n != row.clusters || row.script.closed != n {
				t.Errorf("%d clusters, %d of them closed, want %d", n, row.script.closed, row.clusters)
			}
		})
	}
}

// TestTheLastRunOfAClusterIsKnown: what it deployed need not be removed from a cluster that ends with it.
func TestTheLastRunOfAClusterIsKnown(t *testing.T) {
	s := &script{}
	if _, _, err := outcomes(t, s, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b nftables", "b iptables"}, s.lasts); diff != "" {
		t.Error(diff)
	}
}

func TestMatrixFlag(t *testing.T) {
	for _, row := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"two modes", []string{"proxyMode=nftables,iptables"}, ""},
		{"an unknown key", []string{"protocol=tcp"}, `unknown key "protocol": known is proxyMode`},
		{"no values", []string{"proxyMode"}, "proxyMode without values: write proxyMode=nftables,iptables"},
		{"an unknown value", []string{"proxyMode=nftables,userspace"}, `proxyMode "userspace": known are nftables, iptables, ipvs`},
		{"a value twice", []string{"proxyMode=nftables,nftables"}, "proxyMode nftables is named twice"},
		{"the key twice", []string{"proxyMode=nftables", "proxyMode=iptables"}, "proxyMode is given twice: write all its values in one"},
	} {
		var m matrix
		var err error
		for _, f := range row.flags {
			err = errors.Join(err, m.Set(f))
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestMatrixWithOtherFlags(t *testing.T) {
	both := matrix{proxyModes: []string{"nftables", "iptables"}}
	for _, row := range []struct {
		name string
		m    matrix
		o    clusterOptions
		want string
	}{
		{"on the lab", both, clusterOptions{cluster: "lab"}, ""},
		{"no matrix", matrix{}, clusterOptions{cluster: "current", proxyMode: ""}, ""},
		{"a mode besides", both, clusterOptions{cluster: "lab", proxyMode: "iptables"}, "--matrix proxyMode and --proxy-mode exclude each other"},
		{"on the user's cluster", both, clusterOptions{cluster: "current"}, "--matrix proxyMode is for clusters podskew makes"},
		{"keeping both", both, clusterOptions{cluster: "lab", keep: true}, "--keep-cluster keeps one cluster"},
		{"ipvs on the lab", matrix{proxyModes: []string{"ipvs"}}, clusterOptions{cluster: "lab"}, "the lab has nftables and iptables"},
	} {
		err := row.m.check(row.o)
		if (err == nil) != (row.want == "") || err != nil && (!strings.Contains(err.Error(), row.want) || codeOf(err) != exitUsage) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestMatrixCompletion(t *testing.T) {
	for word, want := range map[string][]string{
		"":                    {"proxyMode="},
		"proxy":               {"proxyMode="},
		"proxyMode=":          {"proxyMode=nftables", "proxyMode=iptables", "proxyMode=ipvs"},
		"proxyMode=nftables,": {"proxyMode=nftables,iptables", "proxyMode=nftables,ipvs"},
	} {
		if got, _ := completeMatrix(nil, nil, word); cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
}

// TestModeThatScenariosNeed: without a word about the mode, the cluster that is made is one they can run on.
func TestModeThatScenariosNeed(t *testing.T) {
	need := func(modes ...string) *scenarios.Scenario {
		return &scenarios.Scenario{Spec: scenarios.Spec{Requires: &scenarios.Requires{ProxyModes: modes}}}
	}
	for _, row := range []struct {
		name string
		o    runOptions
		list []*scenarios.Scenario
		want string
	}{
		{"nothing is needed", runOptions{clusterOptions: clusterOptions{cluster: "lab"}}, []*scenarios.Scenario{{}}, ""},
		{"the default is fine", runOptions{clusterOptions: clusterOptions{cluster: "lab"}}, []*scenarios.Scenario{need("nftables", "iptables")}, ""},
		{"another one is needed", runOptions{clusterOptions: clusterOptions{cluster: "lab"}}, []*scenarios.Scenario{{}, need("iptables", "ipvs")}, "iptables"},
		{"no mode is fine for all", runOptions{clusterOptions: clusterOptions{cluster: "lab"}}, []*scenarios.Scenario{need("nftables"), need("iptables")}, ""},
		{"the lab has no ipvs", runOptions{clusterOptions: clusterOptions{cluster: "lab"}}, []*scenarios.Scenario{need("ipvs")}, ""},
		{"a mode was asked for", runOptions{clusterOptions: clusterOptions{cluster: "lab", proxyMode: "nftables"}}, []*scenarios.Scenario{need("iptables")}, "nftables"},
		{"the user's cluster has its own", runOptions{clusterOptions: clusterOptions{cluster: "current"}}, []*scenarios.Scenario{need("iptables")}, ""},
	} {
		if got := row.o.modes(row.list); len(got) != 1 || got[0] != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
