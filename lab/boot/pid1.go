package boot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// File descriptors that the launcher hands to process 1, and process 1 from FDConfig on to the supervisor.
const (
	FDLifeline = 3 + iota // read end; a byte says that the user namespace is mapped; its end of file ends the lab
	FDLock                // the run directory's lock, which so is held until process 1 is gone too
	FDConfig              // read end; the supervisor's configuration as JSON
	FDListener            // listening socket of the host's loopback for the API server
	FDEvents              // write end; the supervisor's events as JSON lines
	FDControl             // listening unix socket in the run directory
	FDImages              // the first of the image files, in the order of the configuration
)

// LockFile is the one file of a run directory that only the launcher, or whoever holds its lock, may remove.
const LockFile = "lock"

// remapMain waits for the byte on the lifeline and becomes the role in args. A process that is executed before its
// user namespace has a mapping loses its capabilities; executing once more, now as the namespace's root, brings them
// back.
func remapMain(args []string) int {
	one := make([]byte, 1)
	if _, err := io.ReadFull(os.NewFile(FDLifeline, "lifeline"), one); err != nil {
		return 1
	}
	for fd := FDLifeline; fd < FDImages+maxImages; fd++ {
		keepOnExec(fd)
	}
	if err := syscall.Exec(Self, append([]string{os.Args[0]}, args...), os.Environ()); err != nil {
		complain("starting again as root of the user namespace: %v", err)
	}
	return 1
}

// maxImages bounds the inherited image files.
const maxImages = 200

// pid1Main is process 1 of the lab: it prepares the mounts, starts the supervisor and reaps. Its own end, for
// whatever reason, makes the kernel end everything in the lab. args: the number of inherited image files.
func pid1Main(args []string) int {
	if len(args) != 1 {
		return 2
	}
	images, err := strconv.Atoi(args[0])
	if err != nil || images < 0 || images > maxImages {
		return 2
	}
	if err := labMounts(); err != nil {
		complain("%v", err)
		return 1
	}
	pid, err := startSuper(images)
	if err != nil {
		complain("starting the supervisor: %v", err)
		return 1
	}
	var ending atomic.Bool
	go endWithLifeline(&ending)
	return reap(map[int]string{pid: RoleSuper}, func(_ string, status syscall.WaitStatus) (int, bool) {
		return exitCode(status), !ending.Load()
	})
}

func labMounts() error {
	if err := privateMounts(); err != nil {
		return err
	}
	if err := carryOver(RunDir, "2g"); err != nil {
		return err
	}
	return os.Chdir("/")
}

func startSuper(images int) (int, error) {
	files := []uintptr{0, 1, 2}
	for len(files) < FDConfig {
		files = append(files, ^uintptr(0)) // not passed on
	}
	for fd := FDConfig; fd < FDImages+images; fd++ {
		files = append(files, uintptr(fd))
	}
	pid, err := syscall.ForkExec(Self, []string{os.Args[0], RoleSuper, strconv.Itoa(images)},
		&syscall.ProcAttr{Env: os.Environ(), Files: files})
	if err != nil {
		return 0, err
	}
	// The copies here would keep the pipes open after the supervisor's end.
	for fd := FDConfig; fd < FDImages+images; fd++ {
		_ = syscall.Close(fd)
	}
	return pid, nil
}

// endWithLifeline waits until the launcher closes its end of the lifeline, on purpose or by being killed, and then
// ends the lab: every process first, so that nothing is written any more, then the files of the run directory. The
// other goroutine goes on reaping meanwhile.
func endWithLifeline(ending *atomic.Bool) {
	_, _ = io.Copy(io.Discard, os.NewFile(FDLifeline, "lifeline"))
	ending.Store(true)
	for deadline := time.Now().Add(endTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if syscall.Kill(-1, syscall.SIGKILL) == syscall.ESRCH {
			break // nobody left to kill
		}
	}
	EmptyRunDir(RunDir)
	os.Exit(0)
}

// endTimeout bounds how long killed processes may take to go.
const endTimeout = 2 * time.Second

// EmptyRunDir deletes everything in a run directory but its lock.
func EmptyRunDir(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != LockFile {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// reap collects ended children, adopted ones too, until ended returns true for one of the watched ones, and returns
// the code that ended gave.
//
// It must be the only one to wait in the process: os/exec and wait4(-1) would steal each other's children.
func reap(watched map[int]string, ended func(name string, status syscall.WaitStatus) (int, bool)) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.ECHILD:
			time.Sleep(100 * time.Millisecond) // another process may yet be adopted
			continue
		case err != nil:
			complain("waiting for children: %v", err)
			return 1
		}
		name, ok := watched[pid]
		if !ok {
			continue
		}
		delete(watched, pid)
		if code, done := ended(name, status); done {
			return code
		}
	}
}

// exitCode is the shell's convention for a wait status.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// describe says in words how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("ended with exit status %d", status.ExitStatus())
}

// keepOnExec lets the descriptor survive an exec; one that is not open is none of our business.
func keepOnExec(fd int) {
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
}
