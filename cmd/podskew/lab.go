package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// labBinary drives podskew-lab, the embedded cluster, as a process of its own: the command line
// shares no code with it and hands over nothing but a kubeconfig path.
type labBinary struct{ path string }

// How long the lab may take. It is ready after 5 s and gone after 0.3 s on an idle machine with two cores.
const (
	labUpWithin   = 2 * time.Minute
	labDownWithin = 20 * time.Second
)

// findLab looks for podskew-lab: $PODSKEW_LAB, beside this binary, then in PATH.
func (e *env) findLab() (labBinary, error) {
	if path := e.getenv("PODSKEW_LAB"); path != "" {
		return labBinary{path}, nil
	}
	beside := filepath.Join(filepath.Dir(e.executable), "podskew-lab")
	if info, err := os.Stat(beside); err == nil && info.Mode()&0o111 != 0 {
		return labBinary{beside}, nil
	}
	path, err := exec.LookPath("podskew-lab")
	if err != nil {
		return labBinary{}, environmentError(errors.New("podskew-lab, the embedded cluster, is neither beside podskew nor in PATH"),
			"\"make build\" makes it; or use --cluster kind or current")
	}
	return labBinary{path}, nil
}

// provideLab gets the lab that is up and fits, or a new one.
func (e *env) provideLab(ctx context.Context, st *status, o clusterOptions) (*provided, error) {
	lab, err := e.findLab()
	if err != nil {
		return nil, err
	}
	if given := e.upLab(ctx, st, o); given != nil {
		return given, nil
	}
	if !o.keep {
		return lab.start(ctx, st, o.mode())
	}
	if up, err := lab.running(ctx); err == nil && up != nil {
		return nil, usageError("a lab with kube-proxy in %s mode is up already: \"podskew cluster down\" first", up.ProxyMode)
	}
	return lab.keep(ctx, st, o.mode())
}

// upLab returns the lab that is up, if it fits; nil if there is none.
func (e *env) upLab(ctx context.Context, st *status, o clusterOptions) *provided {
	lab, err := e.findLab()
	if err != nil {
		return nil
	}
	up, err := lab.running(ctx)
	if err != nil || up == nil || o.proxyMode != "" && o.proxyMode != up.ProxyMode {
		return nil
	}
	st.note("cluster: the lab that is up (%s, %s)", up.ProxyMode, up.Kubeconfig)
	return &provided{provider: "lab", nodeSubnet: labSubnet(), kubeconfig: up.Kubeconfig, proxyMode: up.ProxyMode, machines: labMachines{lab: lab}, close: func(context.Context) error { return nil }}
}

// running returns the detached lab of this user, or nil if there is none.
func (l labBinary) running(ctx context.Context) (*labState, error) {
	ctx, cancel := context.WithTimeout(ctx, labDownWithin)
	defer cancel()
	out, err := exec.CommandContext(ctx, l.path, "status", "-o", "json").Output() //nolint:gosec // our own binary
	if len(bytes.TrimSpace(out)) == 0 {
		return nil, err
	}
	var s labState
	if err := json.Unmarshal(out, &s); err != nil {
		return nil, fmt.Errorf("reading the lab's status: %w", err)
	}
	if s.State != "ready" {
		return nil, nil //nolint:nilnil // no lab is an answer
	}
	return &s, nil
}

// keep starts a lab that outlives the command.
func (l labBinary) keep(ctx context.Context, st *status, mode string) (*provided, error) {
	var kubeconfig string
	err := st.do(labTitle(mode), func(p *step) error {
		ctx, cancel := context.WithTimeout(ctx, labUpWithin)
		defer cancel()
		cmd := exec.CommandContext(ctx, l.path, "up", "--detach", "--proxy-mode", mode) //nolint:gosec // our own binary
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = labDownWithin
		tail := &tailWriter{step: p}
		cmd.Stderr = tail
		out, err := cmd.Output()
		if err != nil {
			return tail.explain(ctx, "starting the lab", err)
		}
		kubeconfig = strings.TrimSpace(string(out))
		p.update("")
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &provided{provider: "lab", nodeSubnet: labSubnet(), kubeconfig: kubeconfig, proxyMode: mode, machines: labMachines{lab: l}, close: func(context.Context) error {
		st.note("cluster: kept: export KUBECONFIG=%s; \"podskew cluster down\" ends it", kubeconfig)
		return nil
	}}, nil
}

// start starts a lab that ends with this process, even if the process is killed: the lab watches
// the other end of a pipe that only this process holds open.
func (l labBinary) start(ctx context.Context, st *status, mode string) (*provided, error) {
	parent, hold, err := os.Pipe()
	if err != nil {
		return nil, environmentError(fmt.Errorf("starting the lab: %w", err), "")
	}
	runDir, err := os.MkdirTemp("", "podskew-lab-")
	if err != nil {
		return nil, environmentError(fmt.Errorf("starting the lab: %w", err), "")
	}
	tail := &tailWriter{}
	cmd := exec.Command(l.path, "up", "--proxy-mode", mode, "--run-dir", filepath.Join(runDir, "lab"), "--parent-fd", "3") //nolint:gosec,noctx // our own binary; it is ended through the pipe
	cmd.ExtraFiles = []*os.File{parent}
	cmd.Stderr = tail
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to handle: the lab goes last
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = parent.Close()
	if err != nil {
		_ = hold.Close()
		return nil, environmentError(fmt.Errorf("starting the lab: %w", err), "")
	}
	run := &labRun{cmd: cmd, hold: hold, dir: runDir, tail: tail, died: make(chan struct{})}
	first := make(chan string, 1)
	go run.watch(stdout, first)
	return run.ready(ctx, st, mode, first)
}

// labRun is a lab that ends with this process.
type labRun struct {
	cmd  *exec.Cmd
	hold *os.File
	dir  string
	tail *tailWriter
	died chan struct{}
	err  error // of Wait; read after died
}

func (r *labRun) watch(stdout io.Reader, first chan<- string) {
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		first <- lines.Text()
	}
	_, _ = io.Copy(io.Discard, stdout)
	r.err = r.cmd.Wait()
	close(r.died)
}

func (r *labRun) ready(ctx context.Context, st *status, mode string, first <-chan string) (*provided, error) {
	var kubeconfig string
	err := st.do(labTitle(mode), func(p *step) error {
		r.tail.follow(p)
		defer r.tail.follow(nil)
		deadline := time.NewTimer(labUpWithin)
		defer deadline.Stop()
		select {
		case kubeconfig = <-first:
			r.tail.follow(nil)
			p.update("")
			return nil
		case <-r.died:
			return r.tail.explain(ctx, "starting the lab", r.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return r.tail.explain(ctx, "starting the lab", fmt.Errorf("not ready within %v", labUpWithin))
		}
	})
	if err != nil {
		return nil, errors.Join(err, r.stop(context.WithoutCancel(ctx)))
	}
	return &provided{
		provider: "lab", nodeSubnet: labSubnet(), kubeconfig: kubeconfig, proxyMode: mode, disposable: true, died: r.died,
		machines: labMachines{lab: labBinary{r.cmd.Path}, runDir: filepath.Join(r.dir, "lab")},
		reason:   func() error { return r.tail.explain(ctx, "the lab ended in the middle of the run", r.err) },
		close: func(ctx context.Context) error {
			return st.do("Ending the lab", func(*step) error { return r.stop(ctx) })
		},
	}, nil
}

// stop ends the lab by letting go of the pipe, and waits until nothing of it is left.
func (r *labRun) stop(ctx context.Context) error {
	defer func() { _ = os.RemoveAll(r.dir) }()
	_ = r.hold.Close()
	deadline := time.NewTimer(labDownWithin)
	defer deadline.Stop()
	select {
	case <-r.died:
		return nil
	case <-ctx.Done():
	case <-deadline.C:
	}
	_ = r.cmd.Process.Kill()
	<-r.died
	return environmentError(fmt.Errorf("the lab did not end within %v and was killed", labDownWithin), "")
}

// tailWriter keeps the last lines of what a process says and shows the newest one as progress.
type tailWriter struct {
	mu    sync.Mutex
	step  *step
	part  []byte
	lines []string
}

const tailLines = 30

// Write keeps whole lines.
func (t *tailWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, p...)
	for {
		line, rest, whole := bytes.Cut(t.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		t.part = rest
		text := strings.TrimSpace(string(line))
		if text == "" {
			continue
		}
		t.lines = append(t.lines, text)
		t.lines = t.lines[max(0, len(t.lines)-tailLines):]
		if t.step != nil && !strings.Contains(text, "ready; ") {
			t.step.update("%s", strings.TrimPrefix(strings.TrimLeft(text, "•✓✗ "), "podskew-lab: "))
		}
	}
}

func (t *tailWriter) follow(p *step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step = p
}

// explain makes an environment error of what a process said last.
func (t *tailWriter) explain(ctx context.Context, doing string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	said := ""
	if len(t.lines) > 0 {
		said = ":\n  " + strings.Join(t.lines, "\n  ")
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return environmentError(fmt.Errorf("%s: %w%s", doing, err, said), "\"podskew-lab preflight\" says what the lab needs of this machine")
}

// labSubnet is the network of the nodes of every lab.
func labSubnet() netip.Prefix { return netip.MustParsePrefix("10.77.0.0/24") }
