package cri

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is the frame of a pod: its namespaces, network and files. No process belongs to it.
type sandbox struct {
	id      string
	config  *runtimeapi.PodSandboxConfig
	handler string
	created time.Time
	dir     string // holds what the pod's containers share
	addrs   []netip.Addr

	stopping sync.Mutex // held while the sandbox is torn down, so that a second call waits for the first

	mu       sync.Mutex // guards the rest
	ready    bool
	ns       podNamespaces
	attached bool // Network.Attach was called and Detach has not succeeded yet
}

// newID returns an id as container runtimes make them: 64 hex digits.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// RunPodSandbox makes the namespaces, network and files of a pod. When it fails nothing of them is left.
func (s *Server) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	config := req.GetConfig()
	if config.GetMetadata() == nil {
		return nil, status.Error(codes.InvalidArgument, "the sandbox has no metadata")
	}
	if err := checkSandbox(config); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	id := newID()
	sb := &sandbox{
		id:      id,
		config:  config,
		handler: req.GetRuntimeHandler(),
		created: time.Now(),
		dir:     filepath.Join(s.opts.StateDir, "sandboxes", id),
		ready:   true,
	}
	err := s.setUpSandbox(ctx, sb)
	if err == nil {
		err = s.addSandbox(ctx, sb)
	}
	if err != nil {
		return nil, statusError(errors.Join(err, s.tearDown(context.WithoutCancel(ctx), sb)))
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// setUpSandbox makes what a sandbox consists of; after an error tearDown removes what was made.
func (s *Server) setUpSandbox(ctx context.Context, sb *sandbox) error {
	if err := sb.makeDirs(); err != nil {
		return err
	}
	ns, err := newPodNamespaces(hostNetwork(sb.config), hostIPC(sb.config), sb.hostname(s.opts.NodeName))
	if err != nil {
		return err
	}
	sb.ns = ns
	if ns.net != nil && s.opts.Network != nil {
		sb.attached = true
		if sb.addrs, err = s.opts.Network.Attach(ctx, sb.id, ns.net); err != nil {
			return fmt.Errorf("wiring the pod's network: %w", err)
		}
	}
	// After the network, so that parameters of its interfaces can be set.
	return applySysctls(ns, sb.config.GetLinux().GetSysctls())
}

// makeDirs makes the directories of the sandbox: its own, shared memory, and the logs.
func (sb *sandbox) makeDirs() error {
	if err := os.Mkdir(sb.dir, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(sb.shm(), 0o777); err != nil {
		return err
	}
	if err := os.Chmod(sb.shm(), 0o777|os.ModeSticky); err != nil {
		return err
	}
	if dir := sb.config.GetLogDirectory(); dir != "" {
		return os.MkdirAll(dir, 0o755)
	}
	return nil
}

// shm is the directory of the node that is /dev/shm in the pod's containers.
func (sb *sandbox) shm() string { return filepath.Join(sb.dir, "shm") }

// hostname returns what the pod's containers see.
func (sb *sandbox) hostname(node string) string {
	if hostNetwork(sb.config) {
		return node
	}
	return sb.config.GetHostname()
}

// resolvConf returns the pod's /etc/resolv.conf.
func (sb *sandbox) resolvConf() string {
	dns := sb.config.GetDnsConfig()
	var b strings.Builder
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	return b.String()
}

// addSandbox makes the sandbox known, unless its caller is gone or the server is ending.
func (s *Server) addSandbox(ctx context.Context, sb *sandbox) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closing {
		return errors.New("the runtime is shutting down")
	}
	s.sandboxes[sb.id] = sb
	return nil
}

// sandbox returns the sandbox of an id; nil if there is none.
func (s *Server) sandbox(id string) *sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sandboxes[id]
}
