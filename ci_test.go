package podskew_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/scenarios"
)

// ciStep is a step of a workflow or of the action.
type ciStep struct {
	Name, ID, If, Uses, Run, Shell string
	With, Env                      map[string]string
}

type ciAction struct {
	Name, Description, Author string
	Branding                  map[string]string
	Inputs                    map[string]struct {
		Description, Default string
		Required             bool
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []ciStep
	}
}

type ciWorkflow struct {
	Name        string
	On          any
	Permissions map[string]string
	Concurrency struct {
		Group  string
		Cancel bool `yaml:"cancel-in-progress"`
	}
	Jobs map[string]struct {
		Name     string
		RunsOn   string `yaml:"runs-on"`
		Timeout  int    `yaml:"timeout-minutes"`
		Strategy struct {
			FailFast bool `yaml:"fail-fast"`
			Matrix   map[string][]string
		}
		Steps []ciStep
	}
}

// readYAML reads a file strictly: a key that is misspelt, or is there twice, is an error.
func readYAML[T any](t *testing.T, path string) T {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := yaml.UnmarshalWithOptions(text, &v, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func action(t *testing.T) ciAction { t.Helper(); return readYAML[ciAction](t, "action.yml") }

// workflows returns the workflows of the project and those that it gives as examples.
func workflows(t *testing.T) map[string]ciWorkflow {
	t.Helper()
	found := map[string]ciWorkflow{}
	for _, pattern := range []string{".github/workflows/*.yml", "examples/github/*.yml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			found[path] = readYAML[ciWorkflow](t, path)
		}
	}
	return found
}

func TestWorkflowsAskForLittleAndEnd(t *testing.T) {
	for path, w := range workflows(t) {
		if diff := cmp.Diff(map[string]string{"contents": "read"}, w.Permissions); diff != "" {
			t.Errorf("%s: permissions:\n%s", path, diff)
		}
		for name, job := range w.Jobs {
			if job.Timeout < 1 || job.RunsOn == "" || strings.HasSuffix(job.RunsOn, "-latest") {
				t.Errorf("%s: the job %s runs on %q for at most %d minutes: pin both", path, name, job.RunsOn, job.Timeout)
			}
			if len(job.Steps) == 0 {
				t.Errorf("%s: the job %s does nothing", path, name)
			}
		}
	}
}

func TestStepsAreSoundShellAndHoldTogether(t *testing.T) {
	a := action(t)
	if a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("the action runs as %q", a.Runs.Using)
	}
	checkSteps(t, "action.yml", a, a.Runs.Steps)
	for _, step := range a.Runs.Steps {
		if step.Run != "" && step.Shell != "bash" {
			t.Errorf("action.yml: the step %q needs a shell of its own, bash", step.Name)
		}
	}
	for path, w := range workflows(t) {
		for _, job := range w.Jobs {
			checkSteps(t, path, a, job.Steps)
		}
	}
}

var (
	inputRef  = regexp.MustCompile(`\binputs\.([a-z-]+)`)
	outputRef = regexp.MustCompile(`\bsteps\.([a-z-]+)\.outputs\.([a-z-]+)`)
)

// checkSteps checks every script, and that what a step refers to is there before it.
func checkSteps(t *testing.T, path string, a ciAction, steps []ciStep) {
	t.Helper()
	before := map[string]ciStep{}
	for _, step := range steps {
		if (step.Run == "") == (step.Uses == "") {
			t.Errorf("%s: the step %q must either run or use something", path, step.Name)
		}
		if strings.Contains(step.Run, "${{") {
			t.Errorf("%s: an expression in a script runs whatever it holds: pass it in env:\n%s", path, step.Run)
		}
		checkShell(t, path, "bash", step.Run)
		checkUse(t, path, a, step)
		texts := append(slices.Collect(maps.Values(step.With)), slices.Collect(maps.Values(step.Env))...)
		text := strings.Join(append(texts, step.If), "\n")
		if path == "action.yml" {
			checkInputs(t, a, text)
		}
		checkOutputs(t, path, a, before, text)
		if step.ID != "" {
			before[step.ID] = step
		}
	}
	if path == "action.yml" {
		for _, output := range a.Outputs {
			checkOutputs(t, path, a, before, output.Value)
		}
	}
}

func checkShell(t *testing.T, path, shell, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shell, "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s\n%s", path, err, out, script)
	}
}

// checkUse checks the inputs a step gives to our own action.
func checkUse(t *testing.T, path string, a ciAction, step ciStep) {
	t.Helper()
	if !ours(step) {
		return
	}
	for name := range step.With {
		if _, known := a.Inputs[name]; !known {
			t.Errorf("%s: the action has no input %q", path, name)
		}
	}
	for name, input := range a.Inputs {
		if input.Required && step.With[name] == "" {
			t.Errorf("%s: the action needs the input %q", path, name)
		}
	}
}

func ours(step ciStep) bool {
	return step.Uses == "./" || strings.HasPrefix(step.Uses, "podskew/podskew@")
}

func checkInputs(t *testing.T, a ciAction, text string) {
	t.Helper()
	for _, ref := range inputRef.FindAllStringSubmatch(text, -1) {
		if _, known := a.Inputs[ref[1]]; !known {
			t.Errorf("action.yml refers to the input %q, which is not declared", ref[1])
		}
	}
}

// checkOutputs checks that a step of that name comes before and writes that output.
func checkOutputs(t *testing.T, path string, a ciAction, before map[string]ciStep, text string) {
	t.Helper()
	for _, ref := range outputRef.FindAllStringSubmatch(text, -1) {
		step, known := before[ref[1]]
		writes := strings.Contains(step.Run, `echo "`+ref[2]+"=")
		if ours(step) {
			_, writes = a.Outputs[ref[2]]
		}
		if !known || !writes {
			t.Errorf("%s: %s: no earlier step gives that", path, ref[0])
		}
	}
}

// TestOthersActionsArePinned holds every use to a commit, the same everywhere, and to the version it is said to be.
func TestOthersActionsArePinned(t *testing.T) {
	use := regexp.MustCompile(`(?m)uses: (\S+)(.*)$`)
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	hashes, checked := map[string]string{}, 0
	for _, path := range append(slices.Collect(maps.Keys(workflows(t))), "action.yml") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllStringSubmatch(string(text), -1) {
			if ours(ciStep{Uses: m[1]}) {
				continue
			}
			checked++
			if !pinned.MatchString(m[1] + m[2]) {
				t.Errorf("%s: %s: write OWNER/NAME@HASH # vX.Y.Z", path, m[0])
			}
			name, hash, _ := strings.Cut(m[1]+m[2], "@")
			if other := hashes[name]; other != "" && other != hash {
				t.Errorf("%s: %s is pinned to %s here and to %s elsewhere", path, name, hash, other)
			}
			hashes[name] = hash
		}
	}
	if checked == 0 {
		t.Error("no action is used")
	}
}

func TestTheDocsListEveryInputAndOutputOfTheAction(t *testing.T) {
	text, err := os.ReadFile("docs/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	a := action(t)
	for name, input := range a.Inputs {
		row := "| `" + name + "` | "
		if input.Default != "" {
			row += "`" + input.Default + "`"
		}
		if !strings.Contains(string(text), row) || input.Description == "" {
			t.Errorf("docs/ci.md has no row that starts %q, or the input is not described", row)
		}
	}
	for name, output := range a.Outputs {
		if !strings.Contains(string(text), "| `"+name+"` | ") || output.Description == "" {
			t.Errorf("docs/ci.md has no row for the output %q, or it is not described", name)
		}
	}
}

func TestTheExampleIncidentIsAScenario(t *testing.T) {
	const path = "examples/incident.yaml"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenarios.Load(path, text)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Spec.Expect) == 0 {
		t.Error("an incident that expects nothing cannot be reproduced")
	}
}
