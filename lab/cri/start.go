package cri

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/podskew/podskew/lab/boot"
)

// start makes the container's process and returns when its program runs.
func (s *Server) start(ctx context.Context, c *container) error {
	spec, err := s.containerSpec(c)
	if err != nil {
		return err
	}
	ns, err := c.sandbox.holdNamespaces()
	if err != nil {
		return err
	}
	defer ns.close()
	child, console, io, err := c.openStdio()
	if err != nil {
		return err
	}
	defer child.close()
	defer closeAll([]*os.File{console})

	sys := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Setsid: true}
	if !c.hostPID() {
		sys.Cloneflags |= unix.CLONE_NEWPID
	}
	process, err := s.starter.launch(ctx, launch{
		role: boot.RoleContainer, stdio: child.std, sys: sys,
		spec: func(passed *passedFiles) any {
			spec.NetFD, spec.IPCFD, spec.UTSFD = passed.add(ns.net), passed.add(ns.ipc), passed.add(ns.uts)
			spec.ConsoleFD = passed.add(child.console)
			return spec
		},
		abort: func(process *os.Process) { _ = process.Kill() },
	})
	child.close() // only the process's own ends keep the pipes open
	if err != nil {
		io.finish()
		return err
	}
	if err := io.connect(console); err != nil {
		_ = process.Kill()
		_, _ = process.Wait()
		io.finish()
		return err
	}
	c.running(process, io)
	return nil
}

// holdNamespaces returns the pod's namespaces with descriptors of the caller's own.
func (sb *sandbox) holdNamespaces() (podNamespaces, error) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if !sb.ready {
		return podNamespaces{}, status.Errorf(codes.FailedPrecondition, "sandbox %q is not running", sb.id)
	}
	return sb.ns.dup()
}

// hostPID reports whether the container shares the node's PID namespace.
func (c *container) hostPID() bool {
	options := c.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	return options.GetPid() == runtimeapi.NamespaceMode_NODE
}

// openStdio makes the container's streams: pipes, or with a terminal the socket it will come over (console).
func (c *container) openStdio() (child childEnds, console *os.File, io *stdio, err error) {
	log, err := openLog(c.logPath())
	if err != nil {
		return childEnds{}, nil, nil, err
	}
	io = &stdio{log: log, once: c.config.GetStdinOnce()}
	tty := c.config.GetTty()
	child, ours, err := pipes(c.config.GetStdin() && !tty, !tty, !tty)
	if err != nil {
		log.close()
		return childEnds{}, nil, nil, err
	}
	if tty {
		if child.console, console, err = consoleSocket(); err != nil {
			child.close()
			log.close()
			return childEnds{}, nil, nil, err
		}
		return child, console, io, nil
	}
	io.stdin = ours[0]
	// Read from the start: what a failing start prints belongs into the log.
	io.startPumps(ours[1], ours[2])
	return child, nil, io, nil
}

// connect takes the terminal of a started container; socket is nil without one.
func (o *stdio) connect(socket *os.File) error {
	if socket == nil {
		return nil
	}
	console, err := receiveConsole(socket)
	if err != nil {
		return err
	}
	o.console, o.stdin = console, console
	o.startPumps(console, nil)
	return nil
}
