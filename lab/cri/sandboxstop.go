package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StopPodSandbox kills the pod's containers and undoes its network. Unknown ids are fine.
func (s *Server) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	if sb := s.sandbox(req.GetPodSandboxId()); sb != nil {
		if err := s.stopSandbox(ctx, sb); err != nil {
			return nil, statusError(err)
		}
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// stopSandbox may be called again after it failed.
func (s *Server) stopSandbox(ctx context.Context, sb *sandbox) error {
	sb.stopping.Lock()
	defer sb.stopping.Unlock()
	// From here on no container starts; one that is about to is waited for by its stop.
	sb.mu.Lock()
	sb.ready = false
	sb.mu.Unlock()
	if err := s.stopAll(ctx, s.containersOf(sb.id)); err != nil {
		return err
	}
	return s.releaseNetwork(ctx, sb)
}

// stopAll kills the containers at the same time.
func (s *Server) stopAll(ctx context.Context, all []*container) error {
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, c := range all {
		stopping.Go(func() { errs[i] = c.stop(ctx, 0) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// releaseNetwork undoes the network and lets go of the namespaces.
func (s *Server) releaseNetwork(ctx context.Context, sb *sandbox) error {
	sb.mu.Lock()
	attached := sb.attached
	sb.mu.Unlock()
	if attached {
		if err := s.opts.Network.Detach(ctx, sb.id); err != nil {
			return fmt.Errorf("undoing the pod's network: %w", err)
		}
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.attached = false
	sb.ns.close()
	sb.ns = podNamespaces{}
	return nil
}

// tearDown removes a sandbox that no container was made in.
func (s *Server) tearDown(ctx context.Context, sb *sandbox) error {
	return errors.Join(s.releaseNetwork(ctx, sb), os.RemoveAll(sb.dir))
}

// UpdatePodSandboxResources does nothing: limits are not enforced.
func (s *Server) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// RemovePodSandbox stops the sandbox if it is not and removes it with its containers. Unknown ids are fine.
func (s *Server) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	if err := s.removeSandbox(ctx, req.GetPodSandboxId()); err != nil {
		return nil, statusError(err)
	}
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (s *Server) removeSandbox(ctx context.Context, id string) error {
	sb := s.sandbox(id)
	if sb == nil {
		return nil
	}
	if err := s.stopSandbox(ctx, sb); err != nil {
		return err
	}
	for _, c := range s.containersOf(id) {
		if err := s.removeContainer(ctx, c); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(sb.dir); err != nil {
		return fmt.Errorf("removing the sandbox's files: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sandboxes, id)
	return nil
}
