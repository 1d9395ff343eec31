package cri

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSandboxStatus describes a sandbox; an unknown one is codes.NotFound.
func (s *Server) PodSandboxStatus(_ context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	sb := s.sandbox(req.GetPodSandboxId())
	if sb == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	result := &runtimeapi.PodSandboxStatus{
		Id:             sb.id,
		Metadata:       sb.config.GetMetadata(),
		State:          sb.state(),
		CreatedAt:      sb.created.UnixNano(),
		Network:        &runtimeapi.PodSandboxNetworkStatus{},
		Linux:          &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: namespaceOptions(sb.config)}},
		Labels:         sb.config.GetLabels(),
		Annotations:    sb.config.GetAnnotations(),
		RuntimeHandler: sb.handler,
	}
	for i, addr := range sb.addrs {
		if i == 0 {
			result.Network.Ip = addr.String()
			continue
		}
		result.Network.AdditionalIps = append(result.Network.AdditionalIps, &runtimeapi.PodIP{Ip: addr.String()})
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: result}, nil
}

// state returns whether containers can be started in the sandbox.
func (sb *sandbox) state() runtimeapi.PodSandboxState {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// ListPodSandbox returns the sandboxes that pass the filter, oldest first.
func (s *Server) ListPodSandbox(_ context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	resp := &runtimeapi.ListPodSandboxResponse{}
	for _, sb := range s.allSandboxes() {
		item := &runtimeapi.PodSandbox{
			Id:             sb.id,
			Metadata:       sb.config.GetMetadata(),
			State:          sb.state(),
			CreatedAt:      sb.created.UnixNano(),
			Labels:         sb.config.GetLabels(),
			Annotations:    sb.config.GetAnnotations(),
			RuntimeHandler: sb.handler,
		}
		if sandboxPasses(item, req.GetFilter()) {
			resp.Items = append(resp.Items, item)
		}
	}
	return resp, nil
}

// allSandboxes returns the sandboxes, oldest first.
func (s *Server) allSandboxes() []*sandbox {
	s.mu.Lock()
	all := make([]*sandbox, 0, len(s.sandboxes))
	for _, sb := range s.sandboxes {
		all = append(all, sb)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *sandbox) int { return a.created.Compare(b.created) })
	return all
}

// sandboxPasses reports whether every given condition holds.
func sandboxPasses(item *runtimeapi.PodSandbox, filter *runtimeapi.PodSandboxFilter) bool {
	return (filter.GetId() == "" || filter.GetId() == item.Id) &&
		(filter.GetState() == nil || filter.GetState().GetState() == item.State) &&
		labelsPass(item.Labels, filter.GetLabelSelector())
}

// labelsPass reports whether labels holds all of the selector.
func labelsPass(labels, selector map[string]string) bool {
	for key, want := range selector {
		if got, ok := labels[key]; !ok || got != want {
			return false
		}
	}
	return true
}
