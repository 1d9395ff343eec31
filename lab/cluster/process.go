package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/podskew/podskew/lab/boot"
)

// logsDir holds one file per component, on the host, as long as the lab runs.
const logsDir = boot.RunDir + "/logs"

// tailBytes of a log, at most, go into the message about a component that ended.
const tailBytes = 4 << 10

// ComponentError says that a part of the lab ended although nobody asked it to.
type ComponentError struct {
	Component string // with the node's name, where it belongs to one
	Problem   string
	Log       string // the end of its log
}

// Error says which component ended and how.
func (e *ComponentError) Error() string { return fmt.Sprintf("%s %s", e.Component, e.Problem) }

// processes are the components of the lab: the first that ends ends the lab.
type processes struct {
	fail context.CancelCauseFunc

	mu    sync.Mutex
	state map[component]string
	off   map[string]bool // nodes without power: what of theirs ends is no failure
}

// component names a process; node is empty in the control plane.
type component struct{ node, name string }

// String is the name for messages.
func (c component) String() string {
	if c.node == "" {
		return c.name
	}
	return c.name + " of node " + c.node
}

// log is the component's log file.
func (c component) log() string {
	if c.node == "" {
		return filepath.Join(logsDir, c.name+".log")
	}
	return filepath.Join(logsDir, c.node+"-"+c.name+".log")
}

// States of a component.
const (
	stateWaiting = "waiting"
	stateRunning = "running"
	stateEnded   = "ended"
)

func newProcesses(fail context.CancelCauseFunc) *processes {
	return &processes{fail: fail, state: map[component]string{}, off: map[string]bool{}}
}

// set notes the state of a component.
func (p *processes) set(c component, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state[c] = state
}

// ended notes that a component is gone and ends the lab, unless its node has no power.
func (p *processes) ended(c component, problem string) {
	if p.set(c, stateEnded); p.isOff(c.node) {
		return
	}
	p.fail(&ComponentError{Component: c.String(), Problem: problem, Log: logTail(c.log())})
}

// power notes whether a node has power.
func (p *processes) power(node string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off[node] = !on
}

func (p *processes) isOff(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return node != "" && p.off[node]
}

// list returns all components, those of the control plane first, each group by name.
func (p *processes) list() []ComponentStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []ComponentStatus
	for c, state := range p.state {
		out = append(out, ComponentStatus{Name: c.name, Node: c.node, State: state})
	}
	slices.SortFunc(out, func(a, b ComponentStatus) int {
		return strings.Compare(a.Node+"\x00"+a.Name, b.Node+"\x00"+b.Name)
	})
	return out
}

// start runs a role of this binary as a component of the control plane, until ctx ends. With a gate it waits there first.
func (p *processes) start(ctx context.Context, name string, args []string, gate *boot.Gate) error {
	c := component{name: name}
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", c, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, boot.Self, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = componentEnv()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	if gate != nil {
		var wait *os.File
		cmd.Env, wait = gate.Hold(cmd.Env)
		cmd.ExtraFiles = []*os.File{wait} // the first of these is boot.FDGate
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", c, err)
	}
	p.set(c, stateRunning)
	// The goroutine ends with the process, and every process ends with the lab.
	go func() { p.ended(c, howEnded(cmd.Wait())) }()
	return nil
}

// componentEnv is the whole environment of a component. The caller's own must not leak in: proxy settings or a
// GODEBUG would change how the cluster behaves.
func componentEnv() []string { return envWithPath(os.Getenv("PATH")) }

// envWithPath is the same with programs from elsewhere.
func envWithPath(path string) []string { return []string{"PATH=" + path, "HOME=/run"} }

func howEnded(err error) string {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "ended: " + exit.Error()
	}
	if err != nil {
		return "ended: " + err.Error()
	}
	return "ended with exit status 0"
}

// logTail returns the last lines of a log, or nothing where it cannot be read.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd)
	}
	data, _ := io.ReadAll(io.LimitReader(f, 2*tailBytes))
	if _, rest, found := bytes.Cut(data, []byte("\n")); found && len(data) >= tailBytes {
		data = rest // the first line is cut
	}
	return strings.TrimRight(string(data), "\n")
}
