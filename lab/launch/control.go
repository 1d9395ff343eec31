package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/lab/cluster"
)

// downTimeout bounds how long Down waits for a lab to end before it kills it.
const downTimeout = 5 * time.Second

// inspectTimeout bounds how long a lab may take to describe itself.
const inspectTimeout = 5 * time.Second

// ErrNotRunning says that there is no lab with this run directory.
var ErrNotRunning = errors.New("no lab is running with this run directory")

// listenControl makes the control socket. Its path may be longer than a socket address can be, so it goes by way of
// the directory's descriptor.
func (r *runDir) listenControl() (*os.File, error) {
	dir, err := os.Open(r.path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	listener, err := net.ListenUnix("unix", socketAddress(dir))
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	return listener.File()
}

func socketAddress(dir *os.File) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlName)}
}

// writeState leaves a note for Inspect.
func (r *runDir) writeState(status cluster.Status) error {
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file(stateName), data, 0o600)
}

// readState returns the note of a run directory, or none.
func readState(path string) *cluster.Status {
	data, err := os.ReadFile(filepath.Join(path, stateName))
	if err != nil {
		return nil
	}
	status := &cluster.Status{}
	if json.Unmarshal(data, status) != nil {
		return nil
	}
	return status
}

// call sends a request to the lab of the run directory, with open files, and returns the answer.
func call(ctx context.Context, path string, request cluster.Request, files ...*os.File) (*cluster.Response, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	conn, err := net.DialUnix("unix", nil, socketAddress(dir))
	if err != nil {
		return nil, fmt.Errorf("reaching the lab: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	// The descriptors travel with a byte of their own, before the request.
	if _, _, err := conn.WriteMsgUnix([]byte{' '}, unix.UnixRights(fds...), nil); err != nil {
		return nil, fmt.Errorf("sending to the lab: %w", err)
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return nil, fmt.Errorf("sending to the lab: %w", err)
	}
	var response cluster.Response
	if err := json.NewDecoder(conn).Decode(&response); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the lab ended before it answered: %w", err)
	}
	if response.Error != "" {
		return nil, errors.New(response.Error)
	}
	return &response, nil
}

// Inspect describes the lab of a run directory. What a killed lab has left there is removed; the note of one that
// failed stays until Down or the next start.
func Inspect(ctx context.Context, path string) (*cluster.Status, error) {
	dir, running, err := unlocked(ctx, path)
	if err != nil {
		return nil, err
	}
	note := readState(path)
	if dir != nil && note != nil && note.State == cluster.StateFailed {
		return note, dir.lock.Close()
	}
	if dir != nil {
		err = dir.remove()
	}
	if !running {
		return &cluster.Status{State: cluster.StateStopped, RunDir: path}, err
	}
	once, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	response, err := call(once, path, cluster.Request{})
	if err != nil || response.Status == nil { // it has only begun to start, or is about to end
		return &cluster.Status{State: cluster.StateStarting, RunDir: path}, ctx.Err()
	}
	live := response.Status
	live.RunDir = path
	if note != nil {
		live.Mode = note.Mode
	}
	if live.State == cluster.StateReady {
		live.Kubeconfig = filepath.Join(path, cluster.KubeconfigName)
	}
	return live, nil
}

// Exec runs a command of the machine in the namespaces of a node, with the caller's standard input, output and error,
// and returns its exit status.
func Exec(ctx context.Context, path string, request cluster.ExecRequest, files [3]*os.File) (int, error) {
	status, err := Inspect(ctx, path)
	if err != nil {
		return 0, err
	}
	if status.State == cluster.StateStopped || status.State == cluster.StateFailed {
		return 0, fmt.Errorf("%s: %w", path, ErrNotRunning)
	}
	response, err := call(ctx, path, cluster.Request{Exec: &request}, files[:]...)
	if err != nil {
		return 0, err
	}
	return response.Exit, nil
}

// Down ends the lab of a run directory and waits until it is gone; one that does not end in time is killed, which
// ends everything in it too. It reports whether there was one.
func Down(ctx context.Context, path string) (bool, error) {
	dir, running, err := unlocked(ctx, path)
	if dir != nil {
		return false, dir.remove()
	}
	if err != nil || !running {
		return false, err
	}
	pid := lockOwner(path)
	if pid == 0 {
		return true, fmt.Errorf("the lock of %s does not say who holds it", path)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return true, fmt.Errorf("ending the lab's process %d: %w", pid, err)
		}
		if gone, err := awaitGone(ctx, path); gone || err != nil {
			return true, err
		}
	}
	return true, fmt.Errorf("the lab's process %d does not end", pid)
}

// awaitGone waits until nobody holds the run directory any more, and removes it.
func awaitGone(ctx context.Context, path string) (bool, error) {
	deadline := time.After(downTimeout)
	for {
		dir, running, err := unlocked(ctx, path)
		if dir != nil {
			return true, dir.remove()
		}
		if err != nil || !running {
			return !running, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-deadline:
			return false, nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ChangeNode does something to a node of a lab and returns when it is done.
func ChangeNode(ctx context.Context, path string, request cluster.NodeRequest) error {
	status, err := Inspect(ctx, path)
	if err != nil {
		return err
	}
	if status.State == cluster.StateStopped || status.State == cluster.StateFailed {
		return fmt.Errorf("%s: %w", path, ErrNotRunning)
	}
	_, err = call(ctx, path, cluster.Request{Node: &request})
	return err
}
