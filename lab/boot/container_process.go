package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lastCapability is the highest capability number tried; the kernel refuses those it does not know.
const lastCapability = 63

// memoryDevices is the major number of /dev/null and its like.
const memoryDevices = 1

// Secure bits: being user 0 gives no capabilities, and that cannot be undone.
const securebitsNoRoot = 1<<0 | 1<<1

// execute runs the program of p in place of this process; it returns only with an error.
func execute(p *Program) error {
	path, err := findProgram(p)
	if err != nil {
		return err
	}
	if err := os.Chdir(p.Dir); err != nil {
		return fmt.Errorf("entering the working directory: %w", err)
	}
	giveStreams(p, []*os.File{os.Stdin, os.Stdout, os.Stderr})
	if err := limitCapabilities(p); err != nil {
		return err
	}
	if err := becomeUser(p); err != nil {
		return err
	}
	if err := raiseCapabilities(p); err != nil {
		return err
	}
	if err := dieWithRuntime(); err != nil { // again: a change of user undoes it
		return err
	}
	err = syscall.Exec(path, p.Args, p.Env) // also restores the limit of open files that Go raised
	return &os.PathError{Op: "exec", Path: path, Err: err}
}

// dieWithRuntime has the kernel kill this process when the thread of the runtime that started it ends. (Go's Pdeathsig
// does the same before it executes a program, but takes a parent in another PID namespace for a dead one.)
func dieWithRuntime() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("tying the process to its runtime: %w", err)
	}
	return nil
}

// findProgram returns the path of the program, looked up as a shell would.
func findProgram(p *Program) (string, error) {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return "", fmt.Errorf("no command given")
	}
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Dir, name)
		}
		if _, err := os.Stat(name); err != nil {
			return "", &os.PathError{Op: "exec", Path: name, Err: syscall.ENOENT}
		}
		return name, nil
	}
	for _, dir := range filepath.SplitList(searchPath(p.Env)) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

// searchPath returns the value of PATH in env; the last one counts.
func searchPath(env []string) string {
	path := ""
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			path = value
		}
	}
	return path
}

// giveStreams makes the program's user the owner of its standard streams, so that it can open /dev/stdout.
func giveStreams(p *Program, streams []*os.File) {
	if p.KeepUser {
		return
	}
	for _, f := range streams {
		fd := int(f.Fd())
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || unix.Major(st.Rdev) == memoryDevices {
			continue // /dev/null is everybody's
		}
		_ = unix.Fchown(fd, int(p.UID), -1)
	}
}

// limitCapabilities sets what the program can have at most, for the calling thread.
func limitCapabilities(p *Program) error {
	if p.KeepUser && p.UID != 0 {
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, securebitsNoRoot, 0, 0, 0); err != nil {
			return fmt.Errorf("taking the rights of root away: %w", err)
		}
	}
	for c := range uintptr(lastCapability + 1) {
		if p.Bounding&(1<<c) != 0 {
			continue
		}
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil || has == 0 {
			continue // unknown to this kernel, or dropped already
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	if p.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("forbidding new privileges: %w", err)
		}
	}
	return nil
}

// becomeUser changes the user of the calling thread and keeps its capabilities. Raw calls: the wrappers of package
// syscall change every thread, which costs more and is not needed.
func becomeUser(p *Program) error {
	if p.KeepUser {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping capabilities: %w", err)
	}
	var groups *uint32
	if len(p.Groups) > 0 {
		groups = &p.Groups[0]
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(p.Groups)),
		uintptr(unsafe.Pointer(groups)), 0); errno != 0 {
		return fmt.Errorf("setting groups %v: %w", p.Groups, errno)
	}
	gid, uid := uintptr(p.GID), uintptr(p.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("setting group %d: %w", p.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setting user %d: %w", p.UID, errno)
	}
	return nil
}

// raiseCapabilities sets the thread's capability sets to what the program shall start with.
func raiseCapabilities(p *Program) error {
	have := p.Bounding
	if p.UID != 0 {
		have = p.Ambient
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var current, data [2]unix.CapUserData
	if err := unix.Capget(&header, &current[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	for i := range data {
		half := uint32(have >> (32 * i))
		// Never more than there is: the lab itself may have been started without some.
		data[i].Permitted = half & current[i].Permitted
		data[i].Effective = data[i].Permitted
		data[i].Inheritable = uint32(p.Ambient>>(32*i)) & data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("setting capabilities: %w", err)
	}
	for c := range uintptr(lastCapability + 1) {
		if data[c/32].Inheritable&(1<<(c%32)) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
			return fmt.Errorf("raising capability %d: %w", c, err)
		}
	}
	return nil
}
