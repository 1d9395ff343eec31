package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// killWithin bounds how long the kernel may take to end what runs on a node.
	killWithin = 10 * time.Second
	// startWithin bounds how long a node that was killed may take until it is ready; it takes some 2 s.
	startWithin = 45 * time.Second
	// proxyWithin bounds how long a kube-proxy may take to end.
	proxyWithin = 10 * time.Second
)

// changeNode does what is asked to a node. It ends early when the caller goes away.
func (s *supervisor) changeNode(conn *net.UnixConn, request NodeRequest) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	ready, at := s.state == StateReady, slices.IndexFunc(s.running, func(r *runningNode) bool { return r != nil && r.Name == request.Node })
	var r *runningNode
	if at >= 0 {
		r = s.running[at]
	}
	s.mu.Unlock()
	switch {
	case !ready:
		return errors.New("the lab is not ready")
	case r == nil:
		return fmt.Errorf("there is no node %q", request.Node)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, conn) // the caller sends nothing more
		cancel()
	}()
	switch request.Action {
	case NodeKill:
		return s.killNode(ctx, r)
	case NodeStart:
		return s.startAgain(ctx, at, r)
	case NodeRestartProxy:
		return s.restartProxy(ctx, r)
	}
	return fmt.Errorf("unknown action %q", request.Action)
}

// killNode cuts the node's link first, so that no connection is closed on the way, and then ends its process 1, with which
// the kernel ends everything on it.
func (s *supervisor) killNode(ctx context.Context, r *runningNode) error {
	s.processes.power(r.Name, false)
	if err := s.lan.Cut(r.Name); err != nil {
		return err
	}
	if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing node %s: %w", r.Name, err)
	}
	select {
	case <-r.gone:
	case <-ctx.Done():
		return fmt.Errorf("killing node %s: %w", r.Name, ctx.Err())
	case <-time.After(killWithin):
		return fmt.Errorf("node %s does not end", r.Name)
	}
	_ = r.start.Close()
	for _, name := range processNames(r.Node) {
		s.processes.set(component{node: r.Name, name: name}, stateEnded)
	}
	return nil
}

// startAgain starts a killed node. It is called unready before that: nobody else would find out in the first 50 seconds, and
// who waits for it to be ready is to wait for the new one.
func (s *supervisor) startAgain(ctx context.Context, at int, was *runningNode) error {
	if !s.processes.isOff(was.Name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := s.callUnready(ctx, was.Name); err != nil {
		return fmt.Errorf("starting node %s: %w", was.Name, err)
	}
	// The kubelet's and the proxy's ends are news of the new node only from here on.
	s.processes.power(was.Name, true)
	r, err := s.startNode(s.ctx, s.lan, was.Node)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.running[at] = r
	s.mu.Unlock()
	for _, name := range processNames(r.Node) {
		if err := s.releaseOn(r, name); err != nil {
			return err
		}
	}
	if err := s.await(ctx, "the nodes", s.nodesReady); err != nil {
		return err
	}
	if err := s.await(ctx, "kube-proxy", s.proxiesReady); err != nil {
		return err
	}
	return s.tellZones(ctx, was.Node)
}

// callUnready says in the node's status that it is not ready.
func (s *supervisor) callUnready(ctx context.Context, node string) error {
	now := metav1.Now().UTC().Format(time.RFC3339)
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"NoPower","message":"the node has no power",`+
		`"lastHeartbeatTime":%[1]q,"lastTransitionTime":%[1]q}]}}`, now)
	_, err := s.client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	return err
}

// restartProxy has the node's process 1 end kube-proxy and start another.
func (s *supervisor) restartProxy(ctx context.Context, r *runningNode) error {
	at := slices.Index(processNames(r.Node), proxyName)
	if at < 0 || s.processes.isOff(r.Name) {
		return fmt.Errorf("no kube-proxy runs on node %s", r.Name)
	}
	select {
	case <-r.again: // of a restart that nobody waited for
	default:
	}
	if err := r.say(byte(at + 1)); err != nil {
		return fmt.Errorf("restarting kube-proxy: %w", err)
	}
	select {
	case <-r.again:
		go s.tellZoneAgain(r.Node)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("restarting kube-proxy on node %s: %w", r.Name, ctx.Err())
	case <-time.After(proxyWithin):
		return fmt.Errorf("kube-proxy on node %s does not end", r.Name)
	}
}
