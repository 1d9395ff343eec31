package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/podskew/podskew/lab/boot"
)

const (
	// maxExecOutput is how many bytes of each stream ExecSync keeps; the rest is discarded.
	maxExecOutput = 4 << 20
	// execKillTime is how long a role may take to end after it was told to kill its program.
	execKillTime = 5 * time.Second
)

// command is one to run in a container, with its streams; nil ones are /dev/null.
type command struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	tty            bool // stdout is the terminal's output, stderr is not used
	resize         <-chan remotecommand.TerminalSize
}

// ExecSync runs a command and returns its output. Running longer than the timeout is codes.DeadlineExceeded.
func (s *Server) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if timeout := time.Duration(req.GetTimeout()) * time.Second; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var stdout, stderr boundedBuffer
	code, err := s.exec(ctx, c, command{args: req.GetCmd(), stdout: &stdout, stderr: &stderr})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, status.Errorf(codes.DeadlineExceeded, "the command %q did not end within %d s", req.GetCmd(), req.GetTimeout())
	case err != nil:
		return nil, statusError(err)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.data, Stderr: stderr.data, ExitCode: code}, nil
}

// exec runs a command in a container and returns its exit code. When ctx ends the command is killed.
func (s *Server) exec(ctx context.Context, c *container, cmd command) (int32, error) {
	spec := &boot.ExecSpec{}
	var err error
	if spec.Program, err = s.program(c); err != nil {
		return 0, err
	}
	spec.Program.Args, spec.Program.TTY = cmd.args, cmd.tty
	if cmd.tty {
		spec.Program.Env = append([]string{"TERM=xterm"}, spec.Program.Env...)
	}
	run, err := openExec(c, cmd)
	if err != nil {
		return 0, err
	}
	defer run.close()
	process, err := s.starter.launch(ctx, launch{
		role: boot.RoleExec, stdio: run.child.std, sys: &syscall.SysProcAttr{},
		spec: func(passed *passedFiles) any {
			spec.NetFD, spec.IPCFD, spec.UTSFD = passed.add(run.ns[0]), passed.add(run.ns[1]), passed.add(run.ns[2])
			spec.PIDFD, spec.MountFD = passed.add(run.ns[3]), passed.add(run.ns[4])
			spec.ControlFD, spec.ConsoleFD = passed.add(run.controlled), passed.add(run.child.console)
			return spec
		},
		abort: run.abort,
	})
	if err != nil {
		return 0, err
	}
	return run.wait(ctx, process, cmd)
}

// execRun is what a running command holds.
type execRun struct {
	ns         []*os.File  // network, IPC, UTS, PID, mount
	child      childEnds   // the command's ends of its streams
	ours       [3]*os.File // the runtime's; nil where there is none
	socket     *os.File    // that the terminal comes over; nil without one
	control    *os.File    // closing it kills the command
	controlled *os.File    // the command's end of control
	done       chan struct{}
}

// openExec makes the streams of a command and opens the namespaces of its container.
func openExec(c *container, cmd command) (*execRun, error) {
	run := &execRun{done: make(chan struct{})}
	var err error
	if run.ns, err = c.openNamespaces(); err != nil {
		return nil, err
	}
	if run.controlled, run.control, err = os.Pipe(); err != nil {
		run.close()
		return nil, err
	}
	pipe := !cmd.tty
	run.child, run.ours, err = pipes(pipe && cmd.stdin != nil, pipe && cmd.stdout != nil, pipe && cmd.stderr != nil)
	if err == nil && cmd.tty {
		run.child.console, run.socket, err = consoleSocket()
	}
	if err != nil {
		run.close()
		return nil, err
	}
	return run, nil
}

// abort has the role kill the command. Killing the role instead would leave the command behind.
func (r *execRun) abort(process *os.Process) {
	r.control.Close()
	select {
	case <-r.done:
	case <-time.After(execKillTime):
		_ = process.Kill()
	}
}

// close lets everything go, when the command has ended.
func (r *execRun) close() {
	close(r.done)
	r.child.close()
	closeAll(r.ours[:])
	closeAll(r.ns)
	closeAll([]*os.File{r.socket, r.control, r.controlled})
}

// wait connects the streams, waits for the command to end and for its output, and returns the exit code.
func (r *execRun) wait(ctx context.Context, process *os.Process, cmd command) (int32, error) {
	r.child.close()
	defer context.AfterFunc(ctx, func() { r.abort(process) })()
	var ended atomic.Bool
	outputs, err := r.connect(cmd, &ended)
	if err != nil {
		r.control.Close()
	}
	state, werr := process.Wait()
	ended.Store(true)
	for _, f := range r.ours[1:] {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(drainTime))
		}
	}
	if outputs != nil {
		outputs.Wait()
	}
	if err := errors.Join(err, werr, ctx.Err()); err != nil {
		return 0, err
	}
	return exitCode(state), nil
}

// connect starts to copy the streams. The copy of the input is not waited for: it ends when its source does, which the
// streaming server closes after the command's end.
func (r *execRun) connect(cmd command, ended *atomic.Bool) (*sync.WaitGroup, error) {
	if cmd.tty {
		console, err := receiveConsole(r.socket)
		if err != nil {
			return nil, err
		}
		r.ours = [3]*os.File{console, console, nil}
		go resizeTerminal(console, cmd.resize)
	}
	if r.ours[0] != nil && cmd.stdin != nil {
		go func() {
			_, _ = io.Copy(r.ours[0], cmd.stdin)
			if !cmd.tty {
				r.ours[0].Close()
			}
		}()
	}
	outputs := &sync.WaitGroup{}
	for i, w := range []io.Writer{cmd.stdout, cmd.stderr} {
		if reader := r.ours[i+1]; reader != nil && w != nil {
			outputs.Go(func() { pumpOutput(reader, ended, w) })
		}
	}
	return outputs, nil
}

// resizeTerminal follows the client's window until the client is gone.
func resizeTerminal(console *os.File, sizes <-chan remotecommand.TerminalSize) {
	raw, err := console.SyscallConn()
	if err != nil {
		return
	}
	for size := range sizes {
		window := &unix.Winsize{Row: size.Height, Col: size.Width}
		// A terminal that is closed already has no size to set.
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, window) })
	}
}

// openNamespaces opens the namespaces of a running container: network, IPC, UTS, PID, mount.
func (c *container) openNamespaces() ([]*os.File, error) {
	c.mu.Lock()
	process := c.process
	c.mu.Unlock()
	if process == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running", c.id)
	}
	var files []*os.File
	for _, name := range []string{"net", "ipc", "uts", "pid", "mnt"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", process.Pid, name))
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("opening the container's namespaces: %w", err)
		}
		files = append(files, f)
	}
	// Still the same process, so the number was not another one's.
	if err := process.Signal(syscall.Signal(0)); err != nil {
		closeAll(files)
		return nil, status.Errorf(codes.FailedPrecondition, "container %q has ended", c.id)
	}
	return files, nil
}

// boundedBuffer keeps the first maxExecOutput bytes.
type boundedBuffer struct {
	data []byte
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), maxExecOutput-len(b.data))]...)
	return len(p), nil
}
