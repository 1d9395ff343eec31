package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/xid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/scenarios"
)

var liveConfig = flag.String("kubeconfig", "", "run the tests that need a cluster on this one")

// live connects to the cluster that the flag names. Without one the test is skipped.
func live(t *testing.T) *Cluster {
	t.Helper()
	if *liveConfig == "" {
		t.Skip("no -kubeconfig")
	}
	c, err := Connect(t.Context(), Config{Kubeconfig: *liveConfig, Provider: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func liveDeploy(t *testing.T, c *Cluster, s *scenarios.Scenario) *Run {
	t.Helper()
	begun := time.Now()
	progress := func(step string) { t.Logf("%5.2f s  %s", time.Since(begun).Seconds(), step) }
	r, err := c.Deploy(t.Context(), Deployment{RunID: xid.New().String(), Scenario: s, Holder: "live test"}, progress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		begun := time.Now()
		if err := r.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		t.Logf("removed in %.2f s", time.Since(begun).Seconds())
	})
	progress("deployed")
	err = r.WaitProgrammed(t.Context(), func(ctx context.Context, agent, address string) error {
		answer, err := r.Post(ctx, agent, "/v1/probe", strings.NewReader(fmt.Sprintf(`{"address":%q,"timeoutMs":1000}`, address)))
		if err != nil {
			return err
		}
		defer answer.Close()
		var result struct {
			OK     bool
			Detail string
		}
		if err := json.NewDecoder(answer).Decode(&result); err != nil {
			return err
		}
		if !result.OK {
			return fmt.Errorf("%s", result.Detail)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	progress("programmed")
	return r
}

func TestLiveRun(t *testing.T) {
	c := live(t)
	for name, s := range map[string]*scenarios.Scenario{"keepalive": keepalive(), "etp-local": etpLocal()} {
		t.Run(name, func(t *testing.T) {
			r := liveDeploy(t, c, s)
			begun := time.Now()
			f, err := r.Facts(t.Context(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("facts in %.2f s", time.Since(begun).Seconds())
			ready := 0
			for _, e := range f.Endpoints {
				if e.Ready {
					ready++
				}
			}
			if ready != r.layout.replicas || f.Cluster.ProxyMode == modeUnknown {
				t.Errorf("%d ready endpoints, mode %s", ready, f.Cluster.ProxyMode)
			}
			for _, n := range f.Cluster.Nodes {
				if n.External != (n.Proxy.Mode == modeNone) {
					t.Errorf("node %+v", n)
				}
			}
			text, _ := json.MarshalIndent(f, "", " ")
			t.Logf("facts %s", bytes.ReplaceAll(text, []byte("\n"), nil))
			t.Logf("streams %+v", r.Streams())
			t.Logf("notes %q", c.Notes())
		})
	}
}

func TestLiveAgentThatIsDeleted(t *testing.T) {
	c := live(t)
	r := liveDeploy(t, c, keepalive())
	if state, err := r.AgentState(t.Context(), "web-0"); err != nil || !state.Running {
		t.Errorf("%+v, %v", state, err)
	}
	if err := c.client.CoreV1().Pods(r.Namespace()).Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if state, err := r.AgentState(t.Context(), "web-0"); err != nil || state.Running {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestLiveCrashedRunIsCleaned(t *testing.T) {
	c := live(t)
	r := liveDeploy(t, c, keepalive())
	r.Close() // as if podskew had been killed
	cleaned, err := c.Clean(t.Context(), CleanOptions{}, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(cleaned, func(c Cleaned) bool { return c.Namespace == r.Namespace() && c.Removed }) {
		t.Errorf("%+v", cleaned)
	}
}

func TestLiveImageThatIsNotThere(t *testing.T) {
	c := live(t)
	begun := time.Now()
	_, err := c.Deploy(t.Context(), Deployment{RunID: xid.New().String(), Scenario: keepalive(), Image: "podskew.dev/none:dev", Keep: true}, nil)
	t.Logf("after %.2f s: %v", time.Since(begun).Seconds(), err)
	if err == nil || !strings.Contains(err.Error(), "podskew.dev/none:dev") || time.Since(begun) > 30*time.Second {
		t.Error(err)
	}
	if _, err := c.Clean(t.Context(), CleanOptions{All: true}, nil); err != nil {
		t.Error(err)
	}
}
