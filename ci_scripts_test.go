package podskew_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePodskew notes its arguments, leaves two runs behind, one of them without a report, and ends with $CODE.
const fakePodskew = `#!/bin/sh
printf '%s\n' "$*" >>"$LOG"
case $1 in
run)
	runs=runs
	while [ $# -gt 0 ]; do
		if [ "$1" = --runs-dir ]; then runs=$2; fi
		shift
	done
	mkdir -p "$runs/a" "$runs/b"
	echo {} >"$runs/a/report.json"
	echo the report
	exit "$CODE" ;;
analyze)
	echo "# summary of $(basename "$2")"
	exit "$ANALYZE_CODE" ;;
esac
`

// fakeMake notes its arguments and builds what is asked for.
const fakeMake = `#!/bin/sh
printf 'make %s\n' "$*" >>"$LOG"
mkdir -p "$2/bin"
for word; do case $word in bin/*) echo built >"$2/$word" ;; esac; done
`

// fakeOther notes its name and arguments.
const fakeOther = `#!/bin/sh
printf '%s %s\n' "$(basename "$0")" "$*" >>"$LOG"
`

// runner is a machine of a CI system, with stand-ins for what its scripts call.
type runner struct {
	dir string
	env []string
}

func newRunner(t *testing.T, env ...string) runner {
	t.Helper()
	r := runner{dir: t.TempDir()}
	stubs := filepath.Join(r.dir, "stubs")
	if err := os.Mkdir(stubs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"podskew": fakePodskew, "make": fakeMake, "go": fakeOther, "sudo": fakeOther} {
		if err := os.WriteFile(filepath.Join(stubs, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append([]string{
		"PATH=" + stubs + ":" + os.Getenv("PATH"), "LOG=" + r.path("log"), "CODE=0", "ANALYZE_CODE=0",
		"RUNNER_TEMP=" + r.path("temp"), "GITHUB_ACTION_PATH=" + r.path("action"), "GITHUB_PATH=" + r.path("path"),
		"GITHUB_OUTPUT=" + r.path("output"), "GITHUB_STEP_SUMMARY=" + r.path("summary"),
	}, env...)
	return r
}

func (r runner) path(name string) string { return filepath.Join(r.dir, name) }

// read returns a file of the runner with its folder's name taken out; "" if there is none.
func (r runner) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(r.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), r.dir, "DIR")
}

// run runs a script and returns its exit code.
func (r runner) run(t *testing.T, script string, command ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	file := r.path("script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], file)...)
	cmd.Dir, cmd.Env = r.dir, r.env
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(out) > 0 {
		t.Logf("%s", out)
	}
	return cmd.ProcessState.ExitCode()
}

// step runs a step of the action; the flags of bash are those that GitHub gives it.
func (r runner) step(t *testing.T, name string) int {
	t.Helper()
	for _, step := range action(t).Runs.Steps {
		if step.Name == name {
			return r.run(t, step.Run, "bash", "--noprofile", "--norc", "-eo", "pipefail")
		}
	}
	t.Fatalf("the action has no step %q", name)
	return 0
}

func TestTheActionRunsTheScenariosAndTellsHowTheyEnded(t *testing.T) {
	for name, c := range map[string]struct{ code, passed string }{
		"every expectation holds": {"0", "passed=true\n"},
		"an expectation failed":   {"1", "passed=false\n"},
		"the environment failed":  {"3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, "CODE="+c.code, "CLUSTER=kind", "PROXY_MODE=iptables", "FLAGS=--image x/y:v1 --seed 2\n",
				"SCENARIOS=keepalive  a.yaml\nb.yaml s* $(touch pwned);*\n")
			if code := r.step(t, "Run the scenarios"); string(rune('0'+code)) != c.code {
				t.Errorf("exit code %d, want %s", code, c.code)
			}
			want := "run keepalive a.yaml b.yaml s* $(touch pwned);* --cluster kind --runs-dir DIR/temp/podskew/runs " +
				"--image x/y:v1 --seed 2 --proxy-mode iptables -o text\n"
			if diff := cmp.Diff(want, r.read(t, "log")); diff != "" {
				t.Error(diff)
			}
			outputs := "report=DIR/temp/podskew/report.txt\nruns=DIR/temp/podskew/runs\n" + c.passed
			if diff := cmp.Diff(outputs, r.read(t, "output")); diff != "" {
				t.Error(diff)
			}
			if got := r.read(t, "temp/podskew/report.txt"); got != "the report\n" {
				t.Errorf("the report is %q", got)
			}
			if _, err := os.Stat(r.path("pwned")); err == nil {
				t.Error("an input was executed")
			}
		})
	}
}

func TestTheActionLeavesOutWhatIsNotGiven(t *testing.T) {
	r := newRunner(t, "CLUSTER=current", "PROXY_MODE=", "FLAGS=", "SCENARIOS=fresh")
	if code := r.step(t, "Run the scenarios"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if diff := cmp.Diff("run fresh --cluster current --runs-dir DIR/temp/podskew/runs -o text\n", r.read(t, "log")); diff != "" {
		t.Error(diff)
	}
}

func TestTheActionSummarizesEveryRunThatHasAReport(t *testing.T) {
	for name, analyzed := range map[string]string{"expectations hold": "0", "one failed": "1"} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, "ANALYZE_CODE="+analyzed, "CLUSTER=kind", "SCENARIOS=fresh")
			r.step(t, "Run the scenarios")
			r.env = append(r.env, "RUNS="+r.path("temp/podskew/runs"))
			if code := r.step(t, "Write the summary"); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if got := r.read(t, "summary"); got != "# summary of a\n\n" {
				t.Errorf("the summary is %q", got)
			}
		})
	}
}

func TestTheActionBuildsItsOwnSourceOrInstallsAVersion(t *testing.T) {
	const build = "make -C DIR/action bin/podskew bin/podskew-pod VERSION=v1\n"
	for name, c := range map[string]struct{ cluster, install, log, has string }{
		"for kind":           {"kind", "", build, "podskew podskew-pod"},
		"for the lab":        {"lab", "", build + "sudo DIR/action/hack/deps.sh\nsudo sysctl -q kernel.apparmor_restrict_unprivileged_userns=0\nmake -C DIR/action bin/podskew-lab\n", "podskew podskew-lab podskew-pod"},
		"a released version": {"kind", "v0.1.0", "go install github.com/podskew/podskew/cmd/podskew@v0.1.0\ngo install github.com/podskew/podskew/cmd/podskew-pod@v0.1.0\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, "CLUSTER="+c.cluster, "INSTALL="+c.install, "REF=v1")
			if code := r.step(t, "Build podskew"); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if diff := cmp.Diff(c.log, r.read(t, "log")); diff != "" {
				t.Error(diff)
			}
			entries, err := os.ReadDir(r.path("temp/podskew/bin"))
			if err != nil {
				t.Fatal(err)
			}
			names := make([]string, 0, len(entries))
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); got != c.has {
				t.Errorf("the programs are %q, want %q", got, c.has)
			}
			if got := r.read(t, "path"); got != "DIR/temp/podskew/bin\n" {
				t.Errorf("the PATH gets %q", got)
			}
		})
	}
}

// TestThePlainShellOfTheDocsWorks runs the script that docs/ci.md gives for other systems.
func TestThePlainShellOfTheDocsWorks(t *testing.T) {
	page, err := os.ReadFile("docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```sh\n")
	script, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatal("docs/ci.md has no sh block")
	}
	for _, code := range []string{"0", "1", "3"} {
		r := newRunner(t, "CODE="+code, "ANALYZE_CODE=1")
		// The script puts the built podskew first in the PATH: here that is the stand-in.
		r.env = append(r.env, "PODSKEW="+r.path("source"))
		if got := r.run(t, script, "sh"); string(rune('0'+got)) != code {
			t.Errorf("exit code %d, want %s", got, code)
		}
		if got := r.read(t, "summary.md"); got != "# summary of a\n" {
			t.Errorf("the summary is %q", got)
		}
		want := "make -C DIR/source bin/podskew bin/podskew-pod\nrun incident.yaml --cluster kind -o text\nanalyze runs/a/ -o markdown\n"
		if diff := cmp.Diff(want, r.read(t, "log")); diff != "" {
			t.Error(diff)
		}
	}
}
