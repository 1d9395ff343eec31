package cri

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/podskew/podskew/lab/boot"
)

// rootSize bounds what a container can write outside its volumes. It is memory, shared by the whole machine.
const rootSize = "512m"

// searchPath is where commands without a slash are looked for, unless the pod sets PATH.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// containerSpec says how to build the container; the descriptors are filled in when it starts.
func (s *Server) containerSpec(c *container) (*boot.ContainerSpec, error) {
	security := c.config.GetLinux().GetSecurityContext()
	program, err := s.program(c)
	if err != nil {
		return nil, err
	}
	hostname := c.sandbox.hostname(s.opts.NodeName)
	spec := &boot.ContainerSpec{
		Root:     c.dir,
		RootSize: rootSize,
		Files: []boot.File{
			{Path: "/etc/resolv.conf", Content: c.sandbox.resolvConf()},
			{Path: "/etc/hostname", Content: hostname + "\n"},
			{Path: "/etc/hosts", Content: "127.0.0.1\tlocalhost\n::1\tlocalhost\n"},
			{Path: "/etc/passwd", Content: usersFile},
			{Path: "/etc/group", Content: groupsFile},
		},
		MaskedPaths:   security.GetMaskedPaths(),
		ReadOnlyPaths: security.GetReadonlyPaths(),
		ReadOnlyRoot:  security.GetReadonlyRootfs(),
		WritableSys:   security.GetPrivileged(),
		Program:       program,
	}
	if !spec.ReadOnlyRoot {
		spec.Dirs = append(spec.Dirs, boot.Dir{Path: "/tmp", Mode: 0o777 | syscall.S_ISVTX})
	}
	spec.Mounts, err = c.mounts()
	return spec, err
}

// mounts returns the pod's shared memory, the image's files and the kubelet's mounts, parents before children.
func (c *container) mounts() ([]boot.Mount, error) {
	mounts := []boot.Mount{{Source: c.sandbox.shm(), Target: "/dev/shm"}}
	for _, path := range slices.Sorted(maps.Keys(c.image.Files)) {
		mounts = append(mounts, boot.Mount{Source: c.image.Files[path], Target: path, ReadOnly: true})
	}
	wanted := slices.Clone(c.config.GetMounts())
	slices.SortStableFunc(wanted, func(a, b *runtimeapi.Mount) int {
		return strings.Count(filepath.Clean(a.ContainerPath), "/") - strings.Count(filepath.Clean(b.ContainerPath), "/")
	})
	for _, m := range wanted {
		if err := makeHostPath(m.GetHostPath()); err != nil {
			return nil, fmt.Errorf("mount at %s: %w", m.GetContainerPath(), err)
		}
		mounts = append(mounts, boot.Mount{
			Source:    m.GetHostPath(),
			Target:    filepath.Join("/", m.GetContainerPath()),
			ReadOnly:  m.GetReadonly(),
			Recursive: m.GetRecursiveReadOnly(),
			Follow:    m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
		})
	}
	for _, d := range c.config.GetDevices() {
		mounts = append(mounts, boot.Mount{Source: d.GetHostPath(), Target: filepath.Join("/", d.GetContainerPath())})
	}
	return mounts, nil
}

// makeHostPath makes a directory that is not there, as container engines do.
func makeHostPath(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.MkdirAll(path, 0o755)
}

// program returns what the container runs, with the rights it has.
func (s *Server) program(c *container) (boot.Program, error) {
	security := c.config.GetLinux().GetSecurityContext()
	granted, err := capabilities(security)
	if err != nil {
		return boot.Program{}, err
	}
	args := c.config.GetCommand()
	if len(args) == 0 {
		args = c.image.Entrypoint
	}
	dir := filepath.Join("/", c.config.GetWorkingDir())
	return boot.Program{
		Args:        slices.Concat(args, c.config.GetArgs()),
		Env:         c.environment(s.opts.NodeName),
		Dir:         dir,
		UID:         c.user.uid,
		GID:         c.user.gid,
		Groups:      c.user.groups,
		KeepUser:    s.opts.IgnoreUser,
		Bounding:    uint64(granted.bounding),
		Ambient:     ambientFor(c.user, granted),
		NoNewPrivs:  security.GetNoNewPrivs(),
		OOMScoreAdj: int(c.config.GetLinux().GetResources().GetOomScoreAdj()),
		TTY:         c.config.GetTty(),
	}, nil
}

// ambientFor returns the ambient set: root needs none, it has what is bounding.
func ambientFor(u user, granted grantedCapabilities) uint64 {
	if u.uid == 0 {
		return 0
	}
	return uint64(granted.ambient)
}

// environment returns the defaults and then what the pod sets, which counts.
func (c *container) environment(node string) []string {
	defaults := []string{searchPath, "HOSTNAME=" + c.sandbox.hostname(node), "HOME=/"}
	if c.config.GetTty() {
		defaults = append(defaults, "TERM=xterm")
	}
	given := make(map[string]bool, len(c.config.GetEnvs()))
	for _, e := range c.config.GetEnvs() {
		given[e.GetKey()] = true
	}
	var env []string
	for _, entry := range defaults {
		if name, _, _ := strings.Cut(entry, "="); !given[name] {
			env = append(env, entry)
		}
	}
	for _, e := range c.config.GetEnvs() {
		env = append(env, e.GetKey()+"="+string(e.GetValue()))
	}
	return env
}
