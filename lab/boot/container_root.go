package boot

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// oldRoot is where the node's root stays, inside the new one, until everything is mounted.
const oldRoot = "/.node"

// openedMount is a mount whose source is held open: after the change of root its path would name something else.
type openedMount struct {
	Mount
	fd  int
	dir bool
}

// buildRoot gives the process the root of spec. Targets are made after the change of root, so that no symbolic link in
// a volume can lead out of the container.
func buildRoot(spec *ContainerSpec) error {
	devices := openDevices()
	mounts, err := openMounts(spec.Mounts)
	if err != nil {
		return err
	}
	if err := enterRoot(spec.Root, spec.RootSize); err != nil {
		return err
	}
	if err := mountKernel(spec.WritableSys); err != nil {
		return err
	}
	if err := mountDevices(devices); err != nil {
		return err
	}
	if err := fillRoot(spec.Dirs, spec.Files); err != nil {
		return err
	}
	for _, m := range mounts {
		if err := m.bind(); err != nil {
			return err
		}
	}
	if err := makeWorkDir(spec.Program.Dir); err != nil {
		return err
	}
	if err := restrictPaths(spec.MaskedPaths, spec.ReadOnlyPaths); err != nil {
		return err
	}
	return leaveNode(spec.ReadOnlyRoot)
}

// openMounts opens the sources; it follows symbolic links as seen on the node.
func openMounts(mounts []Mount) ([]openedMount, error) {
	opened := make([]openedMount, 0, len(mounts))
	for _, m := range mounts {
		o, err := openMount(m)
		if err != nil {
			return nil, err
		}
		opened = append(opened, o)
	}
	return opened, nil
}

func openMount(m Mount) (openedMount, error) {
	fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return openedMount{}, fmt.Errorf("opening %s for the mount at %s: %w", m.Source, m.Target, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return openedMount{}, fmt.Errorf("reading %s for the mount at %s: %w", m.Source, m.Target, err)
	}
	return openedMount{Mount: m, fd: fd, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}, nil
}

// enterRoot makes a fresh tmpfs the root and keeps the node's root at oldRoot.
func enterRoot(root, size string) error {
	// Slave: nothing mounted here shows on the node, while mounts of the node can still arrive.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detaching the mount namespace from the node's: %w", err)
	}
	// No device nodes: a pod of a lab run by root could otherwise make one for the host's disk.
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NODEV, "mode=0755,size="+size); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	old := filepath.Join(root, oldRoot)
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, old); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return nil
}

// mountKernel mounts /proc, and /sys where the kernel lets it.
func mountKernel(writableSys bool) error {
	for _, dir := range []string{"/proc", "/sys"} {
		if err := os.Mkdir(dir, 0o555); err != nil {
			return err
		}
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if !writableSys {
		flags |= unix.MS_RDONLY
	}
	// Programs do without /sys, and a masked one on the host forbids it.
	_ = unix.Mount("sysfs", "/sys", "sysfs", flags, "")
	return nil
}

// fillRoot makes the directories and files.
func fillRoot(dirs []Dir, files []File) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d.Path, 0o755); err != nil {
			return err
		}
		if err := unix.Chmod(d.Path, d.Mode); err != nil { // os.Chmod takes the sticky bit elsewhere
			return fmt.Errorf("setting the mode of %s: %w", d.Path, err)
		}
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.Path, []byte(f.Content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bind makes the mount, after the change of root.
func (m openedMount) bind() error {
	defer unix.Close(m.fd)
	if err := makeTarget(m.Target, m.dir); err != nil {
		return fmt.Errorf("making the mount point %s: %w", m.Target, err)
	}
	// Mounts below must come along: in a user namespace they are locked to what they cover.
	source := fmt.Sprintf("/proc/self/fd/%d", m.fd)
	if err := unix.Mount(source, m.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", m.Source, m.Target, err)
	}
	propagation := uintptr(unix.MS_PRIVATE | unix.MS_REC)
	if m.Follow {
		propagation = unix.MS_SLAVE | unix.MS_REC
	}
	if err := unix.Mount("", m.Target, "", propagation, ""); err != nil {
		return fmt.Errorf("setting the propagation of %s: %w", m.Target, err)
	}
	if !m.ReadOnly {
		return nil
	}
	if m.Recursive {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, m.Target, unix.AT_RECURSIVE, &attr); err != nil {
			return fmt.Errorf("making %s and all mounts below it read-only: %w", m.Target, err)
		}
		return nil
	}
	return remountReadOnly(m.Target)
}

// makeTarget makes an empty file or directory to mount on, unless something is there.
func makeTarget(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		if _, serr := os.Stat(path); serr == nil {
			return nil // there already, only not writable
		}
		return err
	}
	return f.Close()
}

// remountReadOnly makes the mount at path read-only and keeps its other flags: a user namespace may not clear those it
// inherited.
func remountReadOnly(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("reading the mount flags of %s: %w", path, err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY)
	for have, keep := range map[int64]uintptr{
		unix.ST_NOSUID:     unix.MS_NOSUID,
		unix.ST_NODEV:      unix.MS_NODEV,
		unix.ST_NOEXEC:     unix.MS_NOEXEC,
		unix.ST_NOATIME:    unix.MS_NOATIME,
		unix.ST_NODIRATIME: unix.MS_NODIRATIME,
		unix.ST_RELATIME:   unix.MS_RELATIME,
	} {
		if st.Flags&have != 0 {
			flags |= keep
		}
	}
	if err := unix.Mount("", path, "", flags, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", path, err)
	}
	return nil
}

// makeWorkDir makes the working directory while the root is writable.
func makeWorkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the working directory: %w", err)
	}
	return nil
}

// restrictPaths hides what the kernel shows of the whole machine, and makes its switches read-only.
func restrictPaths(masked, readOnly []string) error {
	for _, path := range readOnly {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making %s read-only: %w", path, err)
		}
		if err := remountReadOnly(path); err != nil {
			return err
		}
	}
	for _, path := range masked {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if info.IsDir() {
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0")
		} else {
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("masking %s: %w", path, err)
		}
	}
	return nil
}

// leaveNode lets go of the node's root.
func leaveNode(readOnly bool) error {
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the node's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return err
	}
	if readOnly {
		return remountReadOnly("/")
	}
	return nil
}
