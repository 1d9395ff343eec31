// Package podskew_test holds what is true of the whole module.
package podskew_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/podskew/podskew"

// layers is the import table of ARCHITECTURE.md: which of our packages each of our packages may import.
// Data flows one way; right of record nothing touches the network.
var layers = map[string][]string{
	"record":            {},
	"scenarios":         {},
	"echo":              {},
	"loadgen":           {"echo", "record"},
	"cluster":           {"record", "scenarios"},
	"ingest":            {"record"},
	"image":             {},
	"kind":              {},
	"analyze":           {"record"},
	"report":            {"analyze", "record"},
	"cmd/podskew":       {"record", "scenarios", "echo", "loadgen", "cluster", "image", "ingest", "kind", "analyze", "report"},
	"cmd/podskew-pod":   {"echo", "loadgen"},
	"internal/simulate": {"record"}, // made-up records for tests
	"hack":              {},
	"lab":               {}, // a module of its own: a kubeconfig path is all that passes between the two
}

// only says who alone may import something from outside.
var only = map[string][]string{
	"k8s.io/":                              {"cluster", "lab"},
	"sigs.k8s.io/kind/":                    {"kind"},
	"gonum.org/":                           {"analyze"},
	"google.golang.org/grpc":               {"echo", "loadgen", "lab"},
	"github.com/olekukonko/tablewriter":    {"report"},
	"github.com/spf13/cobra":               {"cmd/podskew", "cmd/podskew-pod", "lab"},
	"github.com/prometheus/client_golang/": {"echo"},
}

// pure packages never touch the network, processes or files: the same record gives the same report everywhere.
var pure = []string{"analyze", "report", "record", "scenarios", "ingest"}

func TestImportsFollowTheLayers(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || path == "runs" || path == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		layer := layerOf(t, filepath.ToSlash(path))
		seen[layer] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, path, layer, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for layer := range layers {
		if !seen[layer] {
			t.Errorf("the table names %s, which has no code", layer)
		}
	}
}

// layerOf names the row of the table a file belongs to.
func layerOf(t *testing.T, path string) string {
	t.Helper()
	best := ""
	for layer := range layers {
		if strings.HasPrefix(path, layer+"/") && len(layer) > len(best) {
			best = layer
		}
	}
	if best == "" {
		t.Errorf("%s: its package is not in the table of layers", path)
	}
	return best
}

func checkImport(t *testing.T, path, layer, name string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(name, module+"/"); ok {
		if ours == layer || strings.HasPrefix(ours, layer+"/") {
			return
		}
		for _, allowed := range layers[layer] {
			if ours == allowed || strings.HasPrefix(ours, allowed+"/") {
				return
			}
		}
		t.Errorf("%s: %s must not import %s", path, layer, ours)
		return
	}
	for prefix, allowed := range only {
		if strings.HasPrefix(name, prefix) && !slices.Contains(allowed, layer) {
			t.Errorf("%s: only %s may import %s", path, strings.Join(allowed, " and "), name)
		}
	}
	if slices.Contains(pure, layer) && (name == "os" || name == "os/exec" || name == "net/http" || name == "net") {
		t.Errorf("%s: %s is pure and must not import %s", path, layer, name)
	}
}
