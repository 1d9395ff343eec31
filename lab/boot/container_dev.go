package boot

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openDevices opens the devices every container has. Bound, not made: making one takes rights over the machine.
func openDevices() []openedMount {
	var opened []openedMount
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		path := filepath.Join("/dev", name)
		if m, err := openMount(Mount{Source: path, Target: path}); err == nil {
			opened = append(opened, m)
		}
	}
	return opened
}

// mountDevices builds /dev. Shared memory is not here: it belongs to the pod and comes with the mounts.
func mountDevices(devices []openedMount) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := os.Mkdir("/dev", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", flags, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mounting /dev: %w", err)
	}
	for _, d := range devices {
		if err := d.bind(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/dev/pts", "/dev/mqueue", "/dev/shm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mountTerminals(); err != nil {
		return err
	}
	// POSIX message queues are rarely built in and rarely used.
	_ = unix.Mount("mqueue", "/dev/mqueue", "mqueue", flags, "")
	for link, target := range map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
		"/dev/ptmx":   "pts/ptmx",
	} {
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// mountTerminals mounts a set of pseudo-terminals of the container's own.
func mountTerminals() error {
	const options = "newinstance,ptmxmode=0666,mode=0620"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
	// Group 5 owns terminals by convention; a user namespace with a single id does not know it.
	if unix.Mount("devpts", "/dev/pts", "devpts", flags, options+",gid=5") == nil {
		return nil
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", flags, options); err != nil {
		return fmt.Errorf("mounting /dev/pts: %w", err)
	}
	return nil
}

// openTerminal makes a pseudo-terminal in the container, sends its master side over the socket console, and returns
// the slave side.
func openTerminal(console int) (*os.File, error) {
	defer unix.Close(console)
	master, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal: %w", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking the terminal: %w", err)
	}
	n, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's number: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the terminal's slave side: %w", err)
	}
	if err := unix.Sendmsg(console, []byte{0}, unix.UnixRights(master), nil, 0); err != nil {
		slave.Close()
		return nil, fmt.Errorf("handing over the terminal: %w", err)
	}
	return slave, nil
}

// adoptTerminal makes a new terminal the controlling one of this process, which must lead its session, and its
// standard input, output and error.
func adoptTerminal(console int) error {
	slave, err := openTerminal(console)
	if err != nil {
		return err
	}
	defer slave.Close()
	fd := int(slave.Fd())
	if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("taking the terminal: %w", err)
	}
	for std := range 3 {
		if err := unix.Dup3(fd, std, 0); err != nil {
			return fmt.Errorf("attaching the terminal: %w", err)
		}
	}
	return nil
}
