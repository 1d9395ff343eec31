package cri

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// nonroot is the user that images without root run as by convention.
const nonroot = 65532

// usersFile and groupsFile are the users every container knows.
const (
	usersFile  = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	groupsFile = "root:x:0:\ntty:x:5:\nnonroot:x:65532:\n"
)

// user is whom a container runs as.
type user struct {
	uid, gid uint32
	groups   []uint32 // supplementary, in order, with gid
}

// resolveUser finds the user of a container: its own, else the image's.
func resolveUser(config *runtimeapi.ContainerConfig, image *storedImage) (user, error) {
	security := config.GetLinux().GetSecurityContext()
	uid := image.UID
	switch {
	case security.GetRunAsUser() != nil:
		uid = security.GetRunAsUser().GetValue()
	case security.GetRunAsUsername() != "":
		var err error
		if uid, err = uidOf(security.GetRunAsUsername()); err != nil {
			return user{}, err
		}
	}
	gid := primaryGroup(uid, image)
	if security.GetRunAsGroup() != nil {
		gid = security.GetRunAsGroup().GetValue()
	}
	ids := append([]int64{uid, gid}, security.GetSupplementalGroups()...)
	for _, id := range ids {
		if id < 0 || id >= math.MaxUint32 {
			return user{}, fmt.Errorf("user or group id %d is not valid", id)
		}
	}
	u := user{uid: uint32(uid), gid: uint32(gid), groups: []uint32{uint32(gid)}}
	for _, id := range security.GetSupplementalGroups() {
		if !slices.Contains(u.groups, uint32(id)) {
			u.groups = append(u.groups, uint32(id))
		}
	}
	return u, nil
}

// uidOf returns the uid of a name in usersFile, or of digits.
func uidOf(name string) (int64, error) {
	switch name {
	case "root":
		return 0, nil
	case "nonroot":
		return nonroot, nil
	}
	uid, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("user %q is not known in the container", name)
	}
	return int64(uid), nil
}

// primaryGroup returns the group that goes with a user: users the container does not know have group 0.
func primaryGroup(uid int64, image *storedImage) int64 {
	if uid == nonroot || uid == image.UID {
		return uid
	}
	return 0
}

// toAPI returns the user for a status. With ignore all containers are root inside the user namespace.
func (u user) toAPI(ignore bool) *runtimeapi.ContainerUser {
	if ignore {
		return &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{SupplementalGroups: []int64{0}}}
	}
	result := &runtimeapi.LinuxContainerUser{Uid: int64(u.uid), Gid: int64(u.gid)}
	for _, g := range u.groups {
		result.SupplementalGroups = append(result.SupplementalGroups, int64(g))
	}
	return &runtimeapi.ContainerUser{Linux: result}
}
