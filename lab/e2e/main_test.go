// Package e2e tests the binary podskew-lab from the outside: it starts labs as a user would and looks at what they do
// and at what they leave behind.
package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaryVariable names a podskew-lab to test; without it one is built.
const binaryVariable = "PODSKEW_LAB"

// imageName is the image of the test's pods.
const imageName = "test.local/pod:1"

// setup is what all tests use.
type setup struct {
	binary string // podskew-lab; a file of our own, by which the processes of our labs are told from others
	pod    string // the binary of the image
	unfit  string // why this machine cannot run labs, or empty
}

// prepared is written once, by TestMain.
var prepared setup

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		prepared.unfit = "labs take seconds to start"
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "podskew-lab-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 1
	if prepared, err = prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func prepare(dir string) (setup, error) {
	s := setup{binary: filepath.Join(dir, "podskew-lab"), pod: filepath.Join(dir, "pod")}
	if err := os.Chmod(dir, 0o755); err != nil { // labs of other users run what is in there
		return s, err
	}
	if err := build(s.pod, "./testdata/pod"); err != nil {
		return s, err
	}
	if err := provide(s.binary); err != nil {
		return s, err
	}
	out, err := exec.Command(s.binary, "preflight").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 3 {
		s.unfit = "this machine cannot run a lab:\n" + string(out)
		return s, nil
	}
	return s, err
}

// provide copies the given binary or builds one.
func provide(binary string) error {
	given := os.Getenv(binaryVariable)
	if given == "" {
		return build(binary, "..")
	}
	data, err := os.ReadFile(given)
	if err != nil {
		return err
	}
	return os.WriteFile(binary, data, 0o755)
}

func build(to, what string) error {
	cmd := exec.Command("go", "build", "-o", to, "-ldflags",
		"-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3", what)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", what, err, out)
	}
	return nil
}
