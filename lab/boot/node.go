package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// File descriptors of a node's process 1.
const (
	FDNodeSpec  = 3 + iota // read end; NodeSpec as JSON
	FDNodeStart            // read end; a byte starts the node's processes, each at its gate; as many more open the gates in turn; further ones restart the process of that number; its end of file ends the node
	FDNodeNews             // write end; NodeNews as JSON lines
)

// NodeSpec is what a node's process 1 sets up and runs.
type NodeSpec struct {
	Name      string    // the host name
	Sysctls   []Sysctl  // written before anything starts
	Setup     []Command // run one after the other when the network is there
	Processes []Process
}

// Sysctl is one kernel setting, Path relative to /proc/sys.
type Sysctl struct {
	Path, Value string
	Optional    bool // no error where the kernel lacks it
}

// Command is run to its end; Stdin is its whole input.
type Command struct {
	Args  []string
	Stdin string
}

// Process is kept running; its end is news. Log is the file its output is appended to.
type Process struct {
	Name string
	Args []string // of this same binary, the role first
	Env  []string
	Log  string
}

// NodeNews is one line that a node reports: it is set up (all empty), or a process of it ended, or was restarted as it was
// asked to, or it failed itself (no Process).
type NodeNews struct {
	Process   string `json:"process,omitempty"`
	Problem   string `json:"problem,omitempty"`
	Restarted bool   `json:"restarted,omitempty"`
}

// nodeMain is process 1 of a node. It owns the node's mount, network, process, IPC and UTS namespaces and reaps.
func nodeMain([]string) int {
	news := json.NewEncoder(os.NewFile(FDNodeNews, "news"))
	fail := func(err error) int {
		_ = news.Encode(NodeNews{Problem: err.Error()})
		return 1
	}
	var spec NodeSpec
	if err := json.NewDecoder(os.NewFile(FDNodeSpec, "spec")).Decode(&spec); err != nil {
		return fail(fmt.Errorf("reading the node's specification: %w", err))
	}
	if err := nodeNamespaces(spec); err != nil {
		return fail(err)
	}
	if err := news.Encode(NodeNews{}); err != nil {
		return 1
	}
	start, one := os.NewFile(FDNodeStart, "start"), make([]byte, 1)
	if _, err := io.ReadFull(start, one); err != nil {
		return 0
	}
	if err := runAll(spec.Setup); err != nil {
		return fail(err)
	}
	watched, gates, err := startAll(spec.Processes)
	if err != nil {
		return fail(err)
	}
	running := newNodeProcesses(spec.Processes, watched)
	go func() {
		for _, gate := range gates {
			if _, err := io.ReadFull(start, one); err != nil {
				os.Exit(0)
			}
			gate.Open()
		}
		running.obey(start)
		os.Exit(0)
	}()
	return reap(watched, func(name string, status syscall.WaitStatus) (int, bool) {
		if pid, restarted, err := running.again(name); restarted && err == nil {
			watched[pid] = name // reap calls this and nobody else looks at it
			_ = news.Encode(NodeNews{Process: name, Restarted: true})
			return 0, false
		}
		_ = news.Encode(NodeNews{Process: name, Problem: describe(status)})
		return 0, false
	})
}

func nodeNamespaces(spec NodeSpec) error {
	if err := syscall.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	if err := os.Chdir(Base); err != nil {
		return err
	}
	if err := privateMounts(); err != nil {
		return err
	}
	if err := carryOver(Base, "1g"); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := freshTmpfs("/var/log", "256m"); err != nil {
		return err
	}
	return writeSysctls(spec.Sysctls)
}

// setupTimeout bounds the commands that set a node up; each takes milliseconds.
const setupTimeout = 20 * time.Second

// runAll runs the commands in order; it is over before the first process starts, so reap cannot steal their ends.
func runAll(commands []Command) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	for _, c := range commands {
		cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
		cmd.Stdin = strings.NewReader(c.Stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running %q: %w: %s", strings.Join(c.Args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// startAll starts the processes, each at a gate of its own.
func startAll(processes []Process) (watched map[int]string, gates []*Gate, err error) {
	watched = map[int]string{}
	for _, p := range processes {
		gate, err := NewGate()
		if err != nil {
			return nil, nil, err
		}
		pid, err := start(p, gate)
		if err != nil {
			return nil, nil, fmt.Errorf("starting %s: %w", p.Name, err)
		}
		watched[pid], gates = p.Name, append(gates, gate)
	}
	return watched, gates, nil
}

// start starts the process, which waits at the gate where there is one.
func start(p Process, gate *Gate) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	env, files := p.Env, []uintptr{null.Fd(), log.Fd(), log.Fd()}
	if gate != nil {
		held, wait := gate.Hold(env)
		env, files = held, append(files, wait.Fd())
	}
	return syscall.ForkExec(Self, append([]string{os.Args[0]}, p.Args...), &syscall.ProcAttr{Dir: "/", Env: env, Files: files})
}
