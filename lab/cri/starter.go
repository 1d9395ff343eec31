package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/lab/boot"
)

// maxReason is how many bytes are read of why a program could not be started.
const maxReason = 64 << 10

// starter starts all processes from one thread that lives as long as the server. The kernel kills a container when the
// thread that started it ends (so none outlives a killed server), and any other thread of a Go program may end.
type starter struct {
	env      []string // of the roles, not of what they run; set before the first start
	requests chan startRequest
	quit     chan struct{} // closed by stop
	stopped  chan struct{} // closed when the thread is gone
}

type startRequest struct {
	args  []string
	attr  *os.ProcAttr
	reply chan startReply
}

type startReply struct {
	process *os.Process
	err     error
}

func newStarter() *starter {
	s := &starter{
		env:      []string{"GOMAXPROCS=1"}, // fewer threads, so they start faster
		requests: make(chan startRequest),
		quit:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	go s.run()
	return s
}

func (s *starter) run() {
	defer close(s.stopped)
	runtime.LockOSThread()
	for {
		select {
		case req := <-s.requests:
			process, err := os.StartProcess(boot.Self, req.args, req.attr)
			req.reply <- startReply{process, err}
		case <-s.quit:
			return
		}
	}
}

// stop ends the thread; containers that still run are killed by that, and nothing can be started any more.
func (s *starter) stop() {
	close(s.quit)
	<-s.stopped
}

// start starts a process of the server's own binary in the given role.
func (s *starter) start(role string, attr *os.ProcAttr) (*os.Process, error) {
	req := startRequest{args: []string{"podskew-lab", role}, attr: attr, reply: make(chan startReply, 1)}
	select {
	case s.requests <- req:
	case <-s.quit:
		return nil, errors.New("the runtime is shutting down")
	}
	reply := <-req.reply
	return reply.process, reply.err
}

// passedFiles are the files a role gets; the first ones are standard input, output and error, boot.SpecFD and
// boot.ErrorFD.
type passedFiles struct {
	files []*os.File
}

// add passes one more file and returns its number in the new process; boot.NoFD for nil.
func (p *passedFiles) add(f *os.File) int {
	if f == nil {
		return boot.NoFD
	}
	p.files = append(p.files, f)
	return len(p.files) - 1
}

// launch is a role to play.
type launch struct {
	role  string
	stdio [3]*os.File
	sys   *syscall.SysProcAttr
	// spec gets the files that are passed, to which it may add, and returns the role's specification.
	spec func(*passedFiles) any
	// abort ends a process that has not run its program yet, and one that just has.
	abort func(*os.Process)
}

// launch starts a role and returns when its program runs. A program that could not be started, also because ctx ended,
// is an error with the role's reason; its process has been waited for.
func (s *starter) launch(ctx context.Context, l launch) (*os.Process, error) {
	failure, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer failure.Close()
	defer report.Close()
	passed := &passedFiles{files: []*os.File{l.stdio[0], l.stdio[1], l.stdio[2], nil, report}}
	spec, err := memoryFile(l.spec(passed))
	if err != nil {
		return nil, err
	}
	defer spec.Close()
	passed.files[boot.SpecFD] = spec
	process, err := s.start(l.role, &os.ProcAttr{Env: s.env, Files: passed.files, Sys: l.sys})
	if err != nil {
		return nil, fmt.Errorf("starting a process: %w", err)
	}
	report.Close() // the process has the only other one
	defer context.AfterFunc(ctx, func() { l.abort(process) })()
	reason, err := io.ReadAll(io.LimitReader(failure, maxReason))
	switch {
	case ctx.Err() != nil:
		err = ctx.Err() // abort is under way
	case err != nil:
		l.abort(process)
	case len(reason) > 0:
		err = errors.New(string(reason)) // and the role ends
	default:
		return process, nil
	}
	_, _ = process.Wait()
	return nil, err
}

// memoryFile returns a file without a name that holds v as JSON. A pipe could be too small for a large environment.
func memoryFile(v any) (*os.File, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the specification: %w", err)
	}
	fd, err := unix.MemfdCreate("spec", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "spec")
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
