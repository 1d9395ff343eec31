package boot

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// privateMounts cuts the mount namespace off from the one it was copied from and gives it a /proc and /sys of its own
// process and network namespace.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// Nothing of ours reads /sys; it is for commands that a user runs on a node, so a refusal does not matter.
	_ = unix.Mount("sysfs", "/sys", "sysfs", flags, "")
	return nil
}

// TryMounts makes the mounts of a lab in the calling process's own mount namespace, to see whether it may.
func TryMounts() error {
	if err := privateMounts(); err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/var/log"} {
		if err := freshTmpfs(dir, "1m"); err != nil {
			return err
		}
	}
	return nil
}

// freshTmpfs hides what is at path behind an empty tmpfs of that size.
func freshTmpfs(path, size string) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size="+size); err != nil {
		return fmt.Errorf("mounting a tmpfs on %s: %w", path, err)
	}
	return nil
}

// carryOver mounts a fresh tmpfs on /run and binds the directory that the process stands in at path below it. The
// working directory stays usable although /run hides it, and even where its parents may not be traversed: a user
// namespace's root has no power over a directory of the real root.
func carryOver(path, size string) error {
	if err := freshTmpfs("/run", size); err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	if err := unix.Mount(".", path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding to %s: %w", path, err)
	}
	return nil
}

// writeSysctls writes kernel settings of the process's network namespace.
func writeSysctls(settings []Sysctl) error {
	for _, s := range settings {
		err := os.WriteFile("/proc/sys/"+s.Path, []byte(s.Value), 0)
		if err != nil && !s.Optional {
			return fmt.Errorf("writing sysctl %s: %w", s.Path, err)
		}
	}
	return nil
}
