package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cluster"
)

// Files of a run directory beside the kubeconfig and the logs.
const (
	controlName = "control.sock"
	stateName   = "state.json"
	labLogName  = "lab.log"
)

// ErrRunning says that a lab with this run directory is running already.
var ErrRunning = errors.New("a lab is running with this run directory already")

// ErrNotRunDir says that a directory holds something else, which is better not deleted.
var ErrNotRunDir = errors.New("not the run directory of a lab: it holds other files")

// runDir is a directory that belongs to one running lab, as its lock says. The lock is the kernel's, and the lab's
// process 1 holds it together with the launching process. So it is free exactly when no process of the lab is left,
// however they ended, and what then still lies there is stale.
type runDir struct {
	path   string
	lock   *os.File
	status cluster.Status // what is known from outside
}

// claimRunDir makes the directory this process's own, removing what an earlier lab has left in it.
func claimRunDir(ctx context.Context, path string) (*runDir, error) {
	for {
		if err := makeRunDir(path); err != nil {
			return nil, err
		}
		lock, err := lockWhenFree(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its last holder removed it between the two steps
		}
		if err != nil {
			return nil, err
		}
		boot.EmptyRunDir(path)
		if err := lock.Truncate(0); err != nil {
			return nil, err
		}
		if _, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return nil, err
		}
		return &runDir{path: path, lock: lock}, nil
	}
}

// makeRunDir creates the directory, or accepts one that is empty or was a lab's.
func makeRunDir(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("creating the run directory: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", path, ErrNotRunDir)
	}
	if owner := ownerOf(info); owner != os.Getuid() && (os.Getuid() != 0 || owner != usernsBase) {
		return fmt.Errorf("run directory %s belongs to user %d", path, owner)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(path, boot.LockFile)); err != nil {
			return fmt.Errorf("%s: %w", path, ErrNotRunDir)
		}
	}
	return os.Chmod(path, 0o700)
}

func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// lockRunDir takes the lock of an existing directory without waiting.
func lockRunDir(path string) (*os.File, error) {
	name := filepath.Join(path, boot.LockFile)
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrRunning)
		}
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	// The file may have been removed since it was opened; then the lock is on nothing.
	held, err1 := lock.Stat()
	there, err2 := os.Stat(name)
	if err1 != nil || err2 != nil || !os.SameFile(held, there) {
		_ = lock.Close()
		return nil, fs.ErrNotExist
	}
	return lock, nil
}

// duplicateLock returns another descriptor of the same lock, for process 1.
func (r *runDir) duplicateLock() (*os.File, error) {
	fd, err := unix.FcntlInt(r.lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), r.lock.Name()), nil
}

// remove deletes the directory and gives the lock back.
func (r *runDir) remove() error {
	err := os.RemoveAll(r.path)
	_ = r.lock.Close()
	if err != nil {
		return fmt.Errorf("removing the run directory: %w", err)
	}
	return nil
}

// lockWhenFree takes the lock. It waits only for the rest of a lab whose launching process has been killed; that takes
// a moment.
func lockWhenFree(ctx context.Context, path string) (*os.File, error) {
	deadline := time.Now().Add(stopTimeout)
	for {
		lock, err := lockRunDir(path)
		if !errors.Is(err, ErrRunning) || alive(lockOwner(path)) || time.Now().After(deadline) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lockOwner is the process that the lock says holds it, or 0.
func lockOwner(path string) int {
	data, err := os.ReadFile(filepath.Join(path, boot.LockFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// alive reports whether the process runs; one that has ended but was not waited for does not.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The state follows the name, which is in parentheses and may hold some itself.
	_, state, found := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
	return found && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// unlocked returns the run directory of a lab that is gone, locked, or nil if there is none or if its lab runs.
func unlocked(ctx context.Context, path string) (dir *runDir, running bool, err error) {
	if _, err := os.Stat(filepath.Join(path, boot.LockFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	lock, err := lockWhenFree(ctx, path)
	switch {
	case err == nil:
		return &runDir{path: path, lock: lock}, false, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case errors.Is(err, ErrRunning):
		return nil, true, nil
	}
	return nil, false, err
}

// file returns the path of a file of the directory.
func (r *runDir) file(name string) string { return filepath.Join(r.path, name) }
