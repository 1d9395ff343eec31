package cri

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// podNamespaces are the namespaces that the containers of a pod share. A nil file means the node's. They live as long
// as the files are open or a process is in them.
type podNamespaces struct {
	net, ipc, uts *os.File
}

// newPodNamespaces makes the namespaces that are not the node's. The loopback interface is up and hostname is set in
// a UTS namespace of the pod's own.
func newPodNamespaces(hostNetwork, hostIPC bool, hostname string) (podNamespaces, error) {
	var made podNamespaces
	err := onOwnThread(func() error {
		if !hostIPC {
			if err := newNamespace(unix.CLONE_NEWIPC, "ipc", &made.ipc); err != nil {
				return err
			}
		}
		if hostNetwork {
			return nil
		}
		if err := newNamespace(unix.CLONE_NEWUTS, "uts", &made.uts); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("setting the pod's host name: %w", err)
		}
		if err := newNamespace(unix.CLONE_NEWNET, "net", &made.net); err != nil {
			return err
		}
		return loopbackUp()
	})
	if err != nil {
		made.close()
		return podNamespaces{}, err
	}
	return made, nil
}

// newNamespace moves the calling thread into a new namespace and opens it.
func newNamespace(flag int, name string, opened **os.File) error {
	if err := unix.Unshare(flag); err != nil {
		return fmt.Errorf("making the pod's %s namespace: %w", name, err)
	}
	f, err := os.Open("/proc/thread-self/ns/" + name)
	if err != nil {
		return fmt.Errorf("opening the pod's %s namespace: %w", name, err)
	}
	*opened = f
	return nil
}

// files returns the namespaces in the order network, IPC, UTS; nil stands for the node's.
func (n podNamespaces) files() []*os.File { return []*os.File{n.net, n.ipc, n.uts} }

// dup returns the namespaces with descriptors of their own, so that they stay while the originals are closed.
func (n podNamespaces) dup() (podNamespaces, error) {
	var copies podNamespaces
	for _, pair := range []struct {
		from *os.File
		to   **os.File
	}{{n.net, &copies.net}, {n.ipc, &copies.ipc}, {n.uts, &copies.uts}} {
		if pair.from == nil {
			continue
		}
		fd, err := unix.FcntlInt(pair.from.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			copies.close()
			return podNamespaces{}, fmt.Errorf("holding the pod's namespaces: %w", err)
		}
		*pair.to = os.NewFile(uintptr(fd), pair.from.Name())
	}
	return copies, nil
}

// close lets go of the namespaces.
func (n podNamespaces) close() {
	for _, f := range n.files() {
		if f != nil {
			f.Close()
		}
	}
}

// enter moves the calling thread into the namespaces.
func (n podNamespaces) enter() error {
	for _, f := range n.files() {
		if f == nil {
			continue
		}
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("entering the pod's namespaces: %w", err)
		}
	}
	return nil
}

// onOwnThread runs fn on a thread that ends with it, so that fn may leave the thread in other namespaces.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// The lock is never undone: the thread ends with the goroutine.
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// loopbackUp brings up lo in the network namespace of the calling thread.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bringing up the pod's loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bringing up the pod's loopback: %w", err)
	}
	return nil
}

// inNetwork runs fn on a thread in the network namespace; nil is the node's.
func inNetwork(ctx context.Context, netns *os.File, fn func(context.Context) error) error {
	if netns == nil {
		return fn(ctx)
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the pod's network namespace: %w", err)
		}
		return fn(ctx)
	})
}
