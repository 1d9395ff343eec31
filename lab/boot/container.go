package boot

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Roles of the container runtime, as the first argument of the re-executed binary.
const (
	// RoleContainer turns its own process into a container: it builds the root and executes the program.
	RoleContainer = "__ctr"
	// RoleExec joins a running container, starts a program in it, and ends with that program's exit code.
	RoleExec = "__exec"
)

// File descriptors that both roles find open.
const (
	// SpecFD holds the JSON of a ContainerSpec or an ExecSpec.
	SpecFD = 3
	// ErrorFD takes the reason why the program could not be started. It closes, empty, when the program runs.
	ErrorFD = 4
)

// startFailed is the exit code of a role that could not start its program.
const startFailed = 128

// containerUmask is what programs in containers start with, whatever the runtime's own is.
const containerUmask = 0o022

// NoFD stands for a descriptor that was not passed.
const NoFD = -1

// ContainerSpec says how a new process becomes a container. The process must already be in a mount namespace of its
// own, and, unless the container shares the node's, in a PID namespace of its own.
type ContainerSpec struct {
	// NetFD, IPCFD and UTSFD are the namespaces of the pod to join; NoFD keeps the one the process was started in.
	NetFD, IPCFD, UTSFD int
	// ConsoleFD is a Unix socket that is sent the master side of the terminal when Program.TTY is set; else NoFD.
	ConsoleFD int
	// Root is an existing directory of the node on which the container's root is built. The mount shows only inside.
	Root string
	// RootSize bounds the bytes the container can write outside its volumes, as tmpfs takes it ("512m").
	RootSize string
	// Dirs are made in the root before anything is mounted.
	Dirs []Dir
	// Files are written into the root before anything is mounted.
	Files []File
	// Mounts are made in the given order.
	Mounts []Mount
	// MaskedPaths are hidden and ReadOnlyPaths made read-only; paths that do not exist are skipped.
	MaskedPaths, ReadOnlyPaths []string
	// ReadOnlyRoot makes everything but the mounts read-only.
	ReadOnlyRoot bool
	// WritableSys mounts /sys writable.
	WritableSys bool
	// Program is what to run.
	Program Program
}

// Dir is a directory of a container's root.
type Dir struct {
	Path string
	Mode uint32
}

// File is a small file of a container's root, readable by all.
type File struct {
	Path, Content string
}

// Mount binds a path of the node, and all that is mounted below it, into a container.
type Mount struct {
	// Source is the path on the node, Target the absolute path in the container; Target is made if absent.
	Source, Target string
	// ReadOnly makes the mount read-only, Recursive also the mounts below it.
	ReadOnly, Recursive bool
	// Follow lets mounts that appear later on the node show in the container.
	Follow bool
}

// Program is what runs in a container and the rights it runs with.
type Program struct {
	// Args is the command line; Args[0] without a slash is looked up in the PATH of Env, inside the container.
	Args, Env []string
	// Dir is the working directory; made if absent.
	Dir string
	// UID, GID and Groups are the user to become.
	UID, GID uint32
	Groups   []uint32
	// KeepUser stays the user that runs the node, for user namespaces that map only that one. A UID other than 0
	// then still means that being "root" gives no capabilities.
	KeepUser bool
	// Bounding is the set of capabilities the program can have at most, a bit per number. Root has all of them.
	Bounding uint64
	// Ambient is the set that the program has although it is not root; a subset of Bounding.
	Ambient uint64
	// NoNewPrivs forbids gaining rights by executing files.
	NoNewPrivs bool
	// OOMScoreAdj is the kernel's preference for killing the program when memory runs out, -1000 to 1000. Lowering
	// it takes a privilege the lab may lack, so it is set as far as allowed.
	OOMScoreAdj int
	// TTY gives the program a new terminal as its controlling one and as standard input, output and error.
	TTY bool
}

// containerRole returns the roles of the container runtime; nil for every other name.
func containerRole(name string) func(args []string) int {
	switch name {
	case RoleContainer:
		return containerMain
	case RoleExec:
		return execMain
	}
	return nil
}

// containerMain runs as process 1 of the container and returns only when the program could not be started.
func containerMain([]string) int {
	// Namespaces, user and capabilities belong to the thread, and the program inherits those of the thread that
	// executes it.
	runtime.LockOSThread()
	unix.Umask(containerUmask)
	var spec ContainerSpec
	err := dieWithRuntime()
	if err == nil {
		err = readSpec(&spec)
	}
	if err == nil {
		err = becomeContainer(&spec)
	}
	return reportFailure(err)
}

// becomeContainer executes the program of spec; it returns only with an error.
func becomeContainer(spec *ContainerSpec) error {
	if err := joinNamespaces(
		namespace{spec.NetFD, unix.CLONE_NEWNET, "network"},
		namespace{spec.IPCFD, unix.CLONE_NEWIPC, "IPC"},
		namespace{spec.UTSFD, unix.CLONE_NEWUTS, "UTS"},
	); err != nil {
		return err
	}
	setOOMScore(spec.Program.OOMScoreAdj)
	if err := buildRoot(spec); err != nil {
		return err
	}
	if spec.Program.TTY {
		if err := adoptTerminal(spec.ConsoleFD); err != nil {
			return err
		}
	}
	return execute(&spec.Program)
}

// readSpec decodes the JSON on SpecFD into spec and keeps every passed descriptor from the program.
func readSpec(spec any) error {
	for fd := SpecFD; fd < SpecFD+16; fd++ {
		unix.CloseOnExec(fd) // a descriptor that is not open does not matter
	}
	f := os.NewFile(SpecFD, "spec")
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("reading the container's specification: %w", err)
	}
	if err := json.Unmarshal(data, spec); err != nil {
		return fmt.Errorf("decoding the container's specification: %w", err)
	}
	return nil
}

// reportFailure hands err to the runtime, which has the other end of ErrorFD.
func reportFailure(err error) int {
	if _, werr := os.NewFile(ErrorFD, "error").WriteString(err.Error()); werr != nil {
		complain("%v", err)
	}
	return startFailed
}

// namespace is one to join, by an open file of /proc/PID/ns.
type namespace struct {
	fd   int
	kind int
	name string
}

// joinNamespaces moves the calling thread into those that were passed.
func joinNamespaces(all ...namespace) error {
	for _, ns := range all {
		if ns.fd == NoFD {
			continue
		}
		if err := unix.Setns(ns.fd, ns.kind); err != nil {
			return fmt.Errorf("joining the pod's %s namespace: %w", ns.name, err)
		}
	}
	return nil
}

// setOOMScore sets the score as far as the kernel allows.
func setOOMScore(score int) {
	if score != 0 {
		_ = os.WriteFile("/proc/self/oom_score_adj", fmt.Append(nil, score), 0)
	}
}
