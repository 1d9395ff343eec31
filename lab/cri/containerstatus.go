package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStatus describes a container; an unknown one is codes.NotFound.
func (s *Server) ContainerStatus(_ context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatusResponse{Status: c.status(s.opts.IgnoreUser)}, nil
}

func (c *container) status(ignoreUser bool) *runtimeapi.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &runtimeapi.ContainerStatus{
		Id:          c.id,
		Metadata:    c.config.GetMetadata(),
		State:       c.state,
		CreatedAt:   c.created.UnixNano(),
		StartedAt:   unixNano(c.startedAt),
		FinishedAt:  unixNano(c.finished),
		ExitCode:    c.exitCode,
		Image:       c.imageSpec(),
		ImageRef:    c.image.ID,
		ImageId:     c.image.ID,
		Reason:      c.reason,
		Message:     c.message,
		Labels:      c.config.GetLabels(),
		Annotations: c.config.GetAnnotations(),
		Mounts:      c.config.GetMounts(),
		LogPath:     c.logPath(),
		Resources:   &runtimeapi.ContainerResources{Linux: c.resources},
		User:        c.user.toAPI(ignoreUser),
		StopSignal:  c.config.GetStopSignal(),
	}
}

// imageSpec returns the image under the name the pod uses.
func (c *container) imageSpec() *runtimeapi.ImageSpec {
	name := c.config.GetImage().GetUserSpecifiedImage()
	if name == "" {
		name = c.image.tagged
	}
	return &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: name}
}

// unixNano returns 0 for a time that has not come.
func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// ListContainers returns the containers that pass the filter, oldest first.
func (s *Server) ListContainers(_ context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	resp := &runtimeapi.ListContainersResponse{}
	for _, c := range s.containersOf(req.GetFilter().GetPodSandboxId()) {
		item := c.summary()
		if containerPasses(item, req.GetFilter()) {
			resp.Containers = append(resp.Containers, item)
		}
	}
	return resp, nil
}

func (c *container) summary() *runtimeapi.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &runtimeapi.Container{
		Id:           c.id,
		PodSandboxId: c.sandbox.id,
		Metadata:     c.config.GetMetadata(),
		Image:        c.imageSpec(),
		ImageRef:     c.image.ID,
		ImageId:      c.image.ID,
		State:        c.state,
		CreatedAt:    c.created.UnixNano(),
		Labels:       c.config.GetLabels(),
		Annotations:  c.config.GetAnnotations(),
	}
}

// containerPasses reports whether every given condition but the sandbox holds.
func containerPasses(item *runtimeapi.Container, filter *runtimeapi.ContainerFilter) bool {
	return (filter.GetId() == "" || filter.GetId() == item.Id) &&
		(filter.GetState() == nil || filter.GetState().GetState() == item.State) &&
		labelsPass(item.Labels, filter.GetLabelSelector())
}
