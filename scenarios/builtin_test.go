package scenarios

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuiltinScenarios(t *testing.T) {
	want := []string{
		"affinity-clientip", "etp-cluster", "etp-local", "fresh", "grpc-headless-roundrobin", "grpc-pinning", "headless-per-connection",
		"http2-pinning", "keepalive", "open-loop", "source-addresses", "udp-pinning", "websocket-pinning",
	}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Fatal(diff)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s, err := Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			if s.Metadata.Name != name {
				t.Errorf("metadata.name is %q, want the name of the file", s.Metadata.Name)
			}
			if len(s.Metadata.Links) == 0 || len(s.Spec.Expect) == 0 {
				t.Error("a built-in scenario has links and expectations")
			}
			description, err := Describe(name)
			if err != nil || description == "" || !strings.HasSuffix(description, ".") || len(description) > 100 {
				t.Errorf("description %q (%v), want one short sentence", description, err)
			}
			source, err := Source(name)
			if err != nil || !strings.HasPrefix(string(source), "# ") {
				t.Errorf("the file must begin with a comment that says why (%v)", err)
			}
		})
	}
}

// TestBuiltinLoadIsEven holds what the expected shares rest on: slots deal out evenly to the nodes that are dialled.
func TestBuiltinLoadIsEven(t *testing.T) {
	for _, name := range []string{"etp-cluster", "etp-local", "source-addresses"} {
		s, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Spec.Clients[0]
		if n := len(c.TargetNodes); n == 0 || c.Connections%n != 0 || c.Requests%c.Connections != 0 {
			t.Errorf("%s: %d requests on %d connections do not deal out evenly to %d nodes", name, c.Requests, c.Connections, n)
		}
	}
}

func TestUnknownBuiltin(t *testing.T) {
	_, err := Builtin("keepalife")
	if err == nil {
		t.Fatal("there is a scenario of that name")
	}
	want := `there is no built-in scenario "keepalife": did you mean keepalive? ` +
		"Allowed: " + strings.Join(Names(), ", ")
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfCodesAndMetricsAreUnique(t *testing.T) {
	for _, names := range [][]string{FindingCodes(), Metrics()} {
		sorted := slices.Sorted(slices.Values(names))
		if compact := slices.Compact(slices.Clone(sorted)); len(compact) != len(names) {
			t.Errorf("a name is listed twice in %v", sorted)
		}
	}
}
