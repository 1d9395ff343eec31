package boot

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// ExecSpec says which container to join and what to run there.
type ExecSpec struct {
	// NetFD, IPCFD, UTSFD, PIDFD and MountFD are the container's namespaces; NoFD stays in the node's.
	NetFD, IPCFD, UTSFD, PIDFD, MountFD int
	// ControlFD is the read end of a pipe; when its write end closes, the program and its session are killed.
	ControlFD int
	// ConsoleFD is a Unix socket that is sent the master side of the terminal when Program.TTY is set; else NoFD.
	ConsoleFD int
	// Program is what to run.
	Program Program
}

// execMain starts a program in a container, waits for it and returns its exit code, 128 plus the signal's number if
// it was killed.
func execMain([]string) int {
	// The container's namespaces are joined by this thread only, and the program is forked from it.
	runtime.LockOSThread()
	unix.Umask(containerUmask)
	var spec ExecSpec
	if err := readSpec(&spec); err != nil {
		return reportFailure(err)
	}
	setOOMScore(spec.Program.OOMScoreAdj)
	program, err := startInContainer(&spec)
	if err != nil {
		return reportFailure(err)
	}
	unix.Close(ErrorFD) // closed and empty: the program runs
	go killOnEOF(spec.ControlFD, program.Pid)
	state, err := program.Wait()
	if err != nil {
		complain("waiting for the program: %v", err)
		return startFailed
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// startInContainer joins the container's namespaces and starts the program in them.
func startInContainer(spec *ExecSpec) (*os.Process, error) {
	// The mount namespace belongs to what threads share; the others of this process stay behind.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("leaving the other threads: %w", err)
	}
	if err := joinNamespaces(
		namespace{spec.NetFD, unix.CLONE_NEWNET, "network"},
		namespace{spec.IPCFD, unix.CLONE_NEWIPC, "IPC"},
		namespace{spec.UTSFD, unix.CLONE_NEWUTS, "UTS"},
		namespace{spec.PIDFD, unix.CLONE_NEWPID, "PID"},
		namespace{spec.MountFD, unix.CLONE_NEWNS, "mount"},
	); err != nil {
		return nil, err
	}
	p := &spec.Program
	path, err := findProgram(p)
	if err != nil {
		return nil, err
	}
	attr := &os.ProcAttr{
		Dir:   p.Dir,
		Env:   p.Env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if p.TTY {
		slave, err := openTerminal(spec.ConsoleFD)
		if err != nil {
			return nil, err
		}
		defer slave.Close()
		attr.Files = []*os.File{slave, slave, slave}
		attr.Sys.Setctty = true
	}
	giveStreams(p, attr.Files)
	if err := limitCapabilities(p); err != nil {
		return nil, err
	}
	setRights(attr.Sys, p)
	return os.StartProcess(path, p.Args, attr)
}

// setRights makes the child change its user and capabilities; this thread needs its own until then.
func setRights(attr *syscall.SysProcAttr, p *Program) {
	for c := range uintptr(lastCapability + 1) {
		if p.Ambient&(1<<c) != 0 {
			attr.AmbientCaps = append(attr.AmbientCaps, c)
		}
	}
	if !p.KeepUser {
		attr.Credential = &syscall.Credential{Uid: p.UID, Gid: p.GID, Groups: p.Groups}
	}
}

// killOnEOF kills the session of the program when the runtime closes its end of the pipe, or dies.
func killOnEOF(control, session int) {
	buf := make([]byte, 1)
	for {
		_, err := unix.Read(control, buf)
		if err == unix.EINTR {
			continue
		}
		_ = unix.Kill(-session, unix.SIGKILL)
		return
	}
}
