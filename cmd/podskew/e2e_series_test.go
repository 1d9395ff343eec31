package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/report"
)

// libraryWithin bounds the whole library in both modes: twice what two busy cores take.
const libraryWithin = 40 * time.Minute

func seriesOf(t *testing.T, file string) *report.Summary {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &report.Summary{}
	if err := json.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestScenariosOnTheLab runs the library in both proxy modes as "make scenarios" does, one series with a lab for each
// mode, and looks at every run of it.
func TestScenariosOnTheLab(t *testing.T) {
	c := newCLI(t)
	args := []string{"run", "--all", "--matrix", "proxyMode=nftables,iptables", "--cluster", "lab", "-o", "json=series.json", "-o", "text"}
	r := c.runWithin(t, libraryWithin, args...)
	t.Log(r.stdout)
	s := seriesOf(t, filepath.Join(c.dir, "series.json"))
	if names := strings.Fields(c.ok(t, "scenarios", "--names").stdout); len(s.Runs) != 2*len(names) || len(names) < 13 {
		t.Errorf("%d runs of %d scenarios in two modes", len(s.Runs), len(names))
	}
	for _, note := range s.Notes {
		t.Error(note)
	}
	want := 0
	for i := range s.Runs {
		if s.Runs[i].Outcome == report.Failed {
			want = 1
		}
		t.Run(s.Runs[i].ProxyMode+"/"+s.Runs[i].Scenario, func(t *testing.T) { c.checkRun(t, &s.Runs[i]) })
	}
	if r.code != want {
		t.Errorf("exit code %d, want %d\n%s", r.code, want, r.stderr)
	}
}

// checkRun looks at one run of the library: it passed, unless something it needs is not there.
func (c *cli) checkRun(t *testing.T, run *report.SummaryRun) {
	t.Helper()
	switch {
	case run.Outcome == report.Skipped:
		t.Skip(run.Detail)
	case run.Outcome != report.Passed || run.Report == nil:
		text := ""
		if run.Folder != "" {
			text = c.run(t, "analyze", run.Folder).stdout
		}
		t.Fatalf("%s: %s\n%s", run.Outcome, run.Detail, text)
	}
	if run.Report.Cluster.ProxyMode != run.ProxyMode {
		t.Errorf("the report says proxy mode %q, the lab has %q", run.Report.Cluster.ProxyMode, run.ProxyMode)
	}
	was, err := os.ReadFile(filepath.Join(c.dir, run.Folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if again := c.run(t, "analyze", run.Folder, "-o", "json"); again.stdout != string(was) {
		t.Error("podskew analyze says something else than podskew run did")
	}
	rec := readRecord(t, filepath.Join(c.dir, run.Folder))
	if check := checksOf()[run.Scenario]; check != nil {
		checkProgrammed(t, rec)
		checkEnds(t, run.Report)
		check(t, run.Report, rec)
	}
}

// checksOf are what is to hold of a scenario beyond its expectations, where there is more to say.
func checksOf() map[string]func(*testing.T, *analyze.Report, *record.Record) {
	return map[string]func(*testing.T, *analyze.Report, *record.Record){
		"keepalive":         checkKeepalive,
		"fresh":             checkFresh,
		"affinity-clientip": checkAffinity,
		"etp-cluster":       checkCluster,
		"etp-local":         checkLocal,

		"http2-pinning":            checkHTTP2,
		"grpc-pinning":             checkGRPC,
		"grpc-headless-roundrobin": checkRoundRobin,
		"websocket-pinning":        checkWebSocket,
		"udp-pinning":              checkUDP,
		"headless-per-connection":  checkHeadless,
		"open-loop":                checkOpenLoop,
		"source-addresses":         checkSources,
	}
}

// TestMatrixOnTheLab runs two scenarios in both modes, one of them on a lab that stays: what was deployed there must be
// gone, though it is removed behind the run that follows.
func TestMatrixOnTheLab(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "iptables")
	r := c.runWithin(t, 3*time.Minute, "run", "headless-per-connection", "etp-local", "--matrix", "proxyMode=nftables,iptables",
		"-o", "text", "-o", "series.json", "-o", "series.xml", "-o", "series.html", "-o", "markdown=series.md", "--cluster", "lab")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	var rows []string
	for line := range strings.Lines(r.stdout) {
		fields := strings.Fields(line)
		if len(fields) == 4 && slices.Contains([]string{"nftables", "iptables"}, fields[1]) {
			rows = append(rows, strings.Join(fields[:3], " "))
		}
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	want := []string{
		"headless-per-connection nftables passed", "etp-local nftables passed",
		"headless-per-connection iptables passed", "etp-local iptables passed",
	}
	if !slices.Equal(rows, want) || !strings.Contains(r.stdout, ": 4 passed.\n") {
		t.Errorf("the summary shows %q, want %q:\n%s", rows, want, r.stdout)
	}
	for i, line := range []string{"✓ [1/4] headless-per-connection (nftables): passed", "✓ [4/4] etp-local (iptables): passed"} {
		if !strings.Contains(r.stderr, line) {
			t.Errorf("line %d of the progress is not %q:\n%s", i, line, r.stderr)
		}
	}
	s := seriesOf(t, filepath.Join(c.dir, "series.json"))
	for i := range s.Runs {
		if run := &s.Runs[i]; run.Report == nil || run.Report.Cluster.ProxyMode != run.ProxyMode || run.Seconds <= run.Report.Run.Seconds {
			t.Errorf("run %d: %s in %s mode took %g s", i, run.Scenario, run.ProxyMode, run.Seconds)
		}
		c.checkRun(t, &s.Runs[i])
	}
	for _, file := range []string{"series.xml", "series.html", "series.md"} {
		if text, err := os.ReadFile(filepath.Join(c.dir, file)); err != nil || strings.Count(string(text), "etp-local") < 2 {
			t.Errorf("%s does not have both runs of etp-local (%v)", file, err)
		}
	}
	if left := c.ok(t, "clean"); !strings.Contains(left.stdout, "nothing to clean") {
		t.Errorf("the runs left something:\n%s", left.stdout)
	}
}
