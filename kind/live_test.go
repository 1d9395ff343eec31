package kind

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// realEngine is an engine that answers on this machine, with an image that is everything but a node.
func realEngine(t *testing.T) (e *Engine, image string) {
	t.Helper()
	e, err := Detect(t.Context(), "")
	if err != nil {
		t.Skip("no container engine answers: ", err)
	}
	image = "localhost/podskew-test/no-node:1"
	cmd := exec.Command(e.Name, "import", "-", image)
	cmd.Stdin = bytes.NewReader(make([]byte, 1024)) // an empty tar
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s takes no image: %v\n%s", e.Name, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(e.Name, "rmi", image).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return e, image
}

// belongings lists everything in an engine that a failed cluster could leave.
func belongings(t *testing.T, e *Engine) []string {
	t.Helper()
	var all []string
	for _, args := range [][]string{
		{"ps", "-a", "--format", "{{.Names}}"}, {"network", "ls", "--format", "{{.Name}}"}, {"volume", "ls", "--format", "{{.Name}}"},
	} {
		out, err := exec.Command(e.Name, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, args[0]+": "+strings.Join(strings.Fields(string(out)), " "))
	}
	return all
}

func TestARealEngineIsLeftAsItWas(t *testing.T) {
	e, image := realEngine(t)
	before := belongings(t, e)
	dir := filepath.Join(t.TempDir(), "podskew", "kind", "podskew-test")
	o := Options{Name: "podskew-test", Dir: dir, ProxyMode: "nftables", Image: image}
	if e.FindImage(t.Context(), image) != image {
		t.Error("the image is not found")
	}
	if _, err := e.Up(t.Context(), o); err == nil || !strings.Contains(err.Error(), "run --name podskew-test-") {
		t.Errorf("an image that is no node: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	o.Progress = func(text string) {
		if strings.HasPrefix(text, "Preparing nodes") {
			cancel(interrupted)
		}
	}
	if _, err := e.Up(ctx, o); !errors.Is(err, interrupted) {
		t.Errorf("interrupted: %v", err)
	}
	if diff := cmp.Diff(before, belongings(t, e)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(dir))), "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestARealEnginesRegistryRefuses(t *testing.T) {
	e, _ := realEngine(t)
	_, err := e.StartPull(t.Context(), "127.0.0.1:1/kindest/node:v0.0.1", 30*time.Second)
	if told, ok := errors.AsType[*Error](err); !ok || !strings.Contains(told.What, "connection refused") || !strings.Contains(told.Remedy, e.Name+" load") {
		t.Errorf("StartPull says %#v", err)
	}
}
