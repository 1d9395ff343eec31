package cri

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListImages returns all images, or the one of the filter.
func (s *Server) ListImages(_ context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	resp := &runtimeapi.ListImagesResponse{}
	if name := req.GetFilter().GetImage().GetImage(); name != "" {
		if image, err := s.images.find(name); err == nil {
			resp.Images = append(resp.Images, image.toAPI())
		}
		return resp, nil
	}
	for i := range s.images.images {
		resp.Images = append(resp.Images, s.images.images[i].toAPI())
	}
	return resp, nil
}

// ImageStatus returns the image; an unknown one is an empty answer, not an error.
func (s *Server) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	image, err := s.images.find(req.GetImage().GetImage())
	switch {
	case errors.Is(err, errNoImage):
		return &runtimeapi.ImageStatusResponse{}, nil
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &runtimeapi.ImageStatusResponse{Image: image.toAPI()}, nil
}

// PullImage succeeds for the images there are and names them for any other.
func (s *Server) PullImage(_ context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	image, err := s.images.find(req.GetImage().GetImage())
	switch {
	case errors.Is(err, errNoImage):
		return nil, status.Error(codes.NotFound, err.Error())
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &runtimeapi.PullImageResponse{ImageRef: image.ID}, nil
}

// RemoveImage does nothing: the images are the lab's and take no space of the node's.
func (s *Server) RemoveImage(context.Context, *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo reports the filesystem of the state directory, which holds all that containers write.
func (s *Server) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.opts.StateDir, &st); err != nil {
		return nil, status.Errorf(codes.Internal, "reading the state directory's filesystem: %v", err)
	}
	usage := []*runtimeapi.FilesystemUsage{{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: s.opts.StateDir},
		UsedBytes:  &runtimeapi.UInt64Value{Value: (st.Blocks - st.Bfree) * uint64(st.Bsize)},
		InodesUsed: &runtimeapi.UInt64Value{Value: st.Files - st.Ffree},
	}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// toAPI returns the image as the kubelet knows it. The uid makes runAsNonRoot pass without runAsUser.
func (image *storedImage) toAPI() *runtimeapi.Image {
	return &runtimeapi.Image{
		Id:          image.ID,
		RepoTags:    []string{image.tagged},
		RepoDigests: []string{image.repository + "@" + image.ID},
		Size:        image.size,
		Uid:         &runtimeapi.Int64Value{Value: image.UID},
		Spec:        &runtimeapi.ImageSpec{Image: image.tagged},
		Pinned:      true, // never removed to free space
	}
}
