package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogTail(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	tests := []struct {
		name, log, want string
	}{
		{"a short log is whole", "one\ntwo\n", "one\ntwo"},
		{"an empty one is empty", "", ""},
		{"a long one begins with a whole line", "first\n" + strings.Repeat(line, 100), strings.TrimRight(strings.Repeat(line, 40), "\n")},
		{"a long line is cut", strings.Repeat("y", 3*tailBytes), strings.Repeat("y", tailBytes)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(tt.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, logTail(path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := logTail(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("no log: %q", got)
	}
}

func TestTheFirstEndIsTheCause(t *testing.T) {
	ctx, fail := context.WithCancelCause(t.Context())
	p := newProcesses(fail)
	p.set(component{name: "etcd"}, stateRunning)
	p.set(component{node: "worker", name: "kubelet"}, stateRunning)
	p.set(component{node: "worker", name: "kube-proxy"}, stateWaiting)
	p.ended(component{node: "worker", name: "kubelet"}, "ended with exit status 1")
	p.ended(component{name: "etcd"}, "ended: signal: killed")

	want := "kubelet of node worker ended with exit status 1"
	cause, ok := errors.AsType[*ComponentError](context.Cause(ctx))
	if !ok || cause.Error() != want {
		t.Errorf("cause %v, want %s", context.Cause(ctx), want)
	}
	wantList := []ComponentStatus{
		{"etcd", "", "ended"}, {"kube-proxy", "worker", "waiting"}, {"kubelet", "worker", "ended"},
	}
	if diff := cmp.Diff(wantList, p.list()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestZeroSample(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 0`, true},
		{`kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1.7e+09`, false},
		{`kubeproxy_sync_proxy_rules_last_timestamp_seconds`, true},
	}
	for _, tt := range tests {
		if got := zeroSample(tt.line); got != tt.want {
			t.Errorf("%s: %t", tt.line, got)
		}
	}
}

func TestWhatEndsOnANodeWithoutPowerIsNoFailure(t *testing.T) {
	ctx, fail := context.WithCancelCause(t.Context())
	p := newProcesses(fail)
	p.power("worker", false)
	p.ended(component{node: "worker", name: "kubelet"}, "ended: signal: killed")
	if ctx.Err() != nil {
		t.Fatalf("the lab ended: %v", context.Cause(ctx))
	}
	p.power("worker", true)
	p.ended(component{node: "worker", name: "kubelet"}, "ended: signal: killed")
	if ctx.Err() == nil {
		t.Error("the lab went on without a kubelet")
	}
}
