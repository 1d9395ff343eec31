// Package cri is a container runtime for the kubelet that needs no images, no storage driver and no cgroups: a
// container is a process in namespaces of its own that sees the files its "image" names.
//
// It serves the Container Runtime Interface on a Unix socket, meant for the unmodified kubelet in the same process.
// What it does not do, it says: limits of CPU and memory are recorded and not enforced, seccomp and AppArmor profiles
// are accepted and not applied, and pods that share a PID namespace, map host ports or have a user namespace of their
// own are refused with an error.
//
// Everything a container has hangs on its processes and on open descriptors of this one, so the kernel cleans up even
// when the server is killed.
package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage is the largest CRI message in bytes, in both directions; the kubelet's own limit.
const maxMessage = 16 << 20

// Network wires the network namespaces of pods.
type Network interface {
	// Attach wires the pod's network namespace and returns its addresses, the first of which is status.podIP. The
	// loopback interface is up already. netns is the runtime's; it must not be closed or kept.
	Attach(ctx context.Context, sandboxID string, netns *os.File) ([]netip.Addr, error)
	// Detach undoes Attach, also one that failed half-way. Unknown ids are fine.
	Detach(ctx context.Context, sandboxID string) error
}

// Options configure a Server.
type Options struct {
	// Socket is the path of the Unix socket that the kubelet connects to; an old one is replaced.
	Socket string
	// StateDir is an existing directory for the runtime's files, best on a tmpfs. Its contents are removed at start.
	StateDir string
	// NodeName is the host name that host-network pods see.
	NodeName string
	// Network wires pods that have a network namespace of their own; nil leaves them with loopback only.
	Network Network
	// Images are what pods can run.
	Images []Image
	// StreamAddr is the host:port where exec, attach and port-forward are served to the kubelet; "" is 127.0.0.1:0.
	StreamAddr string
	// IgnoreUser runs all containers as the user of the node, for user namespaces that map a single id. Users other
	// than root still get no capabilities.
	IgnoreUser bool
	// Logger takes what goes wrong outside a request; nil discards it.
	Logger *slog.Logger
}

// Server is a container runtime. Its gRPC methods are safe for concurrent use.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	opts     Options
	log      *slog.Logger
	images   *imageStore
	starter  *starter
	listener net.Listener
	streams  *streamServer

	mu         sync.Mutex // guards the maps and closing; never held while anything is started or waited for
	sandboxes  map[string]*sandbox
	containers map[string]*container
	closing    bool
}

// New opens the sockets and reads the images. The kubelet can connect from now on and is answered by Serve, which must
// be called to release what New holds.
func New(opts Options) (*Server, error) {
	images, err := newImageStore(opts.Images)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:       opts,
		log:        opts.Logger,
		images:     images,
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.prepareState(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.starter = newStarter()
	return s, nil
}

// prepareState empties the state directory: what an earlier server kept there is dead.
func (s *Server) prepareState() error {
	for _, name := range []string{"sandboxes", "containers"} {
		dir := filepath.Join(s.opts.StateDir, name)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("clearing the runtime's state: %w", err)
		}
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("making the runtime's state directory: %w", err)
		}
	}
	return nil
}

// listen opens the CRI socket and the streaming address.
func (s *Server) listen() error {
	if err := os.Remove(s.opts.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the old runtime socket: %w", err)
	}
	streams, err := newStreamServer(s)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", s.opts.Socket)
	if err != nil {
		streams.close()
		return fmt.Errorf("listening on the runtime socket: %w", err)
	}
	s.listener, s.streams = listener, streams
	return nil
}

// Serve answers the kubelet until ctx ends or a listener fails. It returns having killed every container and detached
// every sandbox; the error is nil if ctx ended it.
func (s *Server) Serve(ctx context.Context) error {
	rpc := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	runtimeapi.RegisterRuntimeServiceServer(rpc, s)
	runtimeapi.RegisterImageServiceServer(rpc, s)

	failed := make(chan error, 2)
	var serving sync.WaitGroup
	serving.Go(func() { failed <- rpc.Serve(s.listener) })
	serving.Go(func() { failed <- s.streams.serve() })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving the container runtime: %w", err)
	}
	// First the containers, so that requests waiting for them end.
	s.shutdown(context.WithoutCancel(ctx))
	s.streams.close()
	rpc.Stop()
	serving.Wait()
	s.starter.stop()
	return err
}

// shutdown refuses new sandboxes and ends all there are.
func (s *Server) shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.mu.Lock()
	s.closing = true
	ids := make([]string, 0, len(s.sandboxes))
	for id := range s.sandboxes {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var removing sync.WaitGroup
	for _, id := range ids {
		removing.Go(func() {
			if err := s.removeSandbox(ctx, id); err != nil {
				s.log.Warn("removing a sandbox at shutdown", "sandbox", id, "error", err)
			}
		})
	}
	removing.Wait()
}

// statusError gives err the code that tells its kind to the kubelet; one that has a code keeps it.
func statusError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if coded, ok := status.FromError(err); ok {
		return status.Error(coded.Code(), err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}
