package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// container is one container of a sandbox, from its creation to its removal.
type container struct {
	id      string
	sandbox *sandbox
	config  *runtimeapi.ContainerConfig
	image   *storedImage
	created time.Time
	dir     string // its mount point and nothing else
	user    user

	started chan struct{} // closed when the start has been decided: it runs, or it has exited
	exited  chan struct{} // closed when its process has ended and its output is written

	mu        sync.Mutex // guards the rest
	starting  bool
	removed   bool
	state     runtimeapi.ContainerState
	startedAt time.Time
	finished  time.Time
	exitCode  int32
	reason    string
	message   string
	resources *runtimeapi.LinuxContainerResources
	process   *os.Process // set while it runs
	stdio     *stdio      // set once it started
}

// CreateContainer takes down what to run; nothing happens yet.
func (s *Server) CreateContainer(_ context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	config := req.GetConfig()
	if config.GetMetadata() == nil {
		return nil, status.Error(codes.InvalidArgument, "the container has no metadata")
	}
	sb := s.sandbox(req.GetPodSandboxId())
	if sb == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	image, err := s.images.find(config.GetImage().GetImage())
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	u, err := resolveUser(config, image)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := checkContainer(config); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	id := newID()
	c := &container{
		id:        id,
		sandbox:   sb,
		config:    config,
		image:     image,
		created:   time.Now(),
		dir:       filepath.Join(s.opts.StateDir, "containers", id),
		user:      u,
		started:   make(chan struct{}),
		exited:    make(chan struct{}),
		resources: config.GetLinux().GetResources(),
	}
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		return nil, statusError(fmt.Errorf("making the container's directory: %w", err))
	}
	if err := s.addContainer(c); err != nil {
		os.Remove(c.dir)
		return nil, err
	}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

// checkContainer refuses what the lab cannot do.
func checkContainer(config *runtimeapi.ContainerConfig) error {
	security := config.GetLinux().GetSecurityContext()
	pid := security.GetNamespaceOptions().GetPid()
	if pid == runtimeapi.NamespaceMode_TARGET {
		return errors.New("sharing the PID namespace of another container is not supported by the lab")
	}
	if pid == runtimeapi.NamespaceMode_POD {
		return errSharedPID
	}
	for _, m := range config.GetMounts() {
		if m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
			return fmt.Errorf("mount %s: bidirectional mount propagation is not supported by the lab", m.GetContainerPath())
		}
		if m.GetImage() != nil && m.GetHostPath() == "" {
			return fmt.Errorf("mount %s: image volumes are not supported by the lab", m.GetContainerPath())
		}
	}
	_, err := capabilities(security)
	return err
}

// addContainer makes the container known unless its sandbox has been stopped meanwhile.
func (s *Server) addContainer(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandboxes[c.sandbox.id] == nil || c.sandbox.state() != runtimeapi.PodSandboxState_SANDBOX_READY {
		return status.Errorf(codes.FailedPrecondition, "sandbox %q is not running", c.sandbox.id)
	}
	s.containers[c.id] = c
	return nil
}

// container returns the container of an id, or an error with codes.NotFound.
func (s *Server) container(id string) (*container, error) {
	if c := s.findContainer(id); c != nil {
		return c, nil
	}
	return nil, status.Errorf(codes.NotFound, "container %q not found", id)
}

// findContainer returns the container of an id; nil if there is none.
func (s *Server) findContainer(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

// containersOf returns the containers of a sandbox, or all for "", oldest first.
func (s *Server) containersOf(sandboxID string) []*container {
	s.mu.Lock()
	var found []*container
	for _, c := range s.containers {
		if sandboxID == "" || c.sandbox.id == sandboxID {
			found = append(found, c)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(a, b *container) int { return a.created.Compare(b.created) })
	return found
}

// UpdateContainerResources takes new limits down; they are not enforced.
func (s *Server) UpdateContainerResources(_ context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resources = req.GetLinux()
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog opens the log anew after the kubelet has renamed the file.
func (s *Server) ReopenContainerLog(_ context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	io, err := c.runningStdio()
	if err != nil {
		return nil, err
	}
	if err := io.log.reopen(); err != nil {
		return nil, statusError(fmt.Errorf("reopening the log: %w", err))
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}

// runningStdio returns the input and output of a running container, or an error with codes.FailedPrecondition.
func (c *container) runningStdio() (*stdio, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", c.id)
	}
	return c.stdio, nil
}

// logPath returns where the log goes; "" if nowhere.
func (c *container) logPath() string {
	dir := c.sandbox.config.GetLogDirectory()
	if dir == "" || c.config.GetLogPath() == "" {
		return ""
	}
	return filepath.Join(dir, c.config.GetLogPath())
}
