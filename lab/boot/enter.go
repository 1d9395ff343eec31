package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit statuses of a command that could not be run, as a shell has them.
const (
	StatusCannotRun = 126
	StatusNotFound  = 127
)

// enterMain runs a command in the namespaces of a node and ends with its exit status. args: the process id of the
// node's process 1, the working directory, and the command with its arguments.
func enterMain(args []string) int {
	if len(args) < 3 {
		return StatusCannotRun
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return StatusCannotRun
	}
	if err := enterNamespaces(pid); err != nil {
		complain("%v", err)
		return StatusCannotRun
	}
	if os.Chdir(args[1]) != nil {
		_ = os.Chdir("/") // what a node hides, such as the caller's /run, cannot be stood in
	}
	cmd := exec.Command(Self, append([]string{RoleRun}, args[2:]...)...) //nolint:noctx // it ends with the command
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return exitCode(status)
		}
	}
	if err != nil {
		complain("%v", err)
		return StatusCannotRun
	}
	return 0
}

// runMain becomes the command in args, which ends when the process that entered the namespaces does: the supervisor
// kills that one when the caller goes away. SysProcAttr.Pdeathsig would be shorter, but it compares the parent's
// process id with the one it knows, and a parent in another process namespace has none.
func runMain(args []string) int {
	if len(args) == 0 {
		return StatusCannotRun
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		complain("%v", err)
		return StatusCannotRun
	}
	if os.Getppid() == 1 {
		return StatusCannotRun // the parent is gone already
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		complain("%v", err)
		return StatusNotFound
	}
	complain("%s: %v", path, syscall.Exec(path, args, os.Environ()))
	return StatusCannotRun
}

// enterNamespaces moves the calling thread, for good, into the namespaces of the process; children it forks are in
// the process's process namespace too.
func enterNamespaces(pid int) error {
	runtime.LockOSThread()
	kinds := []struct {
		name string
		flag int
	}{
		{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS},
		{"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
	}
	files := make([]*os.File, len(kinds))
	for i, k := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, k.name))
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	// A mount namespace can be entered only by a thread that shares its root and working directory with no other.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unsharing the file system state: %w", err)
	}
	for i, k := range kinds {
		if err := unix.Setns(int(files[i].Fd()), k.flag); err != nil {
			return fmt.Errorf("entering the %s namespace: %w", k.name, err)
		}
	}
	return nil
}
