package cri

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime is how long the output of an ended process is still read while a process it left behind holds the pipe.
const drainTime = time.Second

// attachBacklog is how many pieces of output an attached client may be behind before it is cut off. A client must not
// hold up the container.
const attachBacklog = 256

// stdio is a container's standard input, output and error on the runtime's side.
type stdio struct {
	log     *logFile
	stdin   *os.File // write end, nil without input; the master side with a terminal
	once    bool     // the input ends with the first attached client
	console *os.File // master side of the terminal; nil without one

	readers []*os.File
	ended   atomic.Bool
	pumps   sync.WaitGroup

	mu       sync.Mutex // guards attached
	attached []*attachment
	closed   bool
}

// attachment is one attached client.
type attachment struct {
	output chan outputPiece // closed at the end of the output, and when the client is too slow
}

// outputPiece is a piece of a container's output.
type outputPiece struct {
	stderr bool
	data   []byte
}

// childEnds are the files a new process gets: standard input, output and error, and the socket it sends its terminal
// over.
type childEnds struct {
	std     [3]*os.File
	console *os.File // nil without a terminal
}

func (e *childEnds) close() {
	for _, f := range append(e.std[:], e.console) {
		if f != nil {
			f.Close()
		}
	}
}

// pipes makes pipes for the wanted streams; the others are /dev/null. ours holds the runtime's ends, nil where there
// is no pipe.
func pipes(stdin, stdout, stderr bool) (child childEnds, ours [3]*os.File, err error) {
	for i, want := range []bool{stdin, stdout, stderr} {
		var r, w *os.File
		switch {
		case !want:
			child.std[i], err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		case i == 0:
			r, w, err = os.Pipe()
			child.std[i], ours[i] = r, w
		default:
			r, w, err = os.Pipe()
			child.std[i], ours[i] = w, r
		}
		if err != nil {
			child.close()
			closeAll(ours[:])
			return childEnds{}, [3]*os.File{}, fmt.Errorf("making the standard streams: %w", err)
		}
	}
	return child, ours, nil
}

// consoleSocket returns a pair of sockets: a role sends the master side of its terminal from one to the other.
func consoleSocket() (child, ours *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the terminal's socket: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "console"), os.NewFile(uintptr(pair[1]), "console"), nil
}

// receiveConsole takes the master side that a role has sent before it ran its program.
func receiveConsole(socket *os.File) (*os.File, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receiving the terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receiving the terminal: no descriptor came (%w)", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receiving the terminal: no descriptor came (%w)", err)
	}
	// Non-blocking, so that closing it ends a read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("receiving the terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// closeAll closes those that are not nil.
func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// pumpOutput writes what comes from r to w until the end, or until ended and silent for drainTime. A w that fails
// does not stop it: the process would block on a full pipe.
func pumpOutput(r *os.File, ended *atomic.Bool, w io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		if ended.Load() {
			_ = r.SetReadDeadline(time.Now().Add(drainTime))
		}
		n, err := r.Read(buf)
		if n > 0 {
			_, _ = w.Write(buf[:n])
		}
		if err != nil {
			return // io.EOF, a deadline, or EIO from a terminal that nobody has open any more
		}
	}
}

// startPumps begins to read the container's output; finish ends it.
func (o *stdio) startPumps(stdout, stderr *os.File) {
	for _, out := range []struct {
		r      *os.File
		name   string
		stderr bool
	}{{stdout, "stdout", false}, {stderr, "stderr", true}} {
		if out.r == nil {
			continue
		}
		o.readers = append(o.readers, out.r)
		lines := &lineSplitter{entry: o.log.entry, stream: out.name}
		o.pumps.Go(func() {
			pumpOutput(out.r, &o.ended, io.MultiWriter(lines, broadcast{o, out.stderr}))
			lines.flush()
		})
	}
}

// finish writes out what the ended container left and lets everything go.
func (o *stdio) finish() {
	o.ended.Store(true)
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(drainTime))
	}
	o.pumps.Wait()
	closeAll(o.readers)
	closeAll([]*os.File{o.stdin})
	o.log.close()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, a := range o.attached {
		close(a.output)
	}
	o.attached = nil
}

// broadcast hands output to the attached clients.
type broadcast struct {
	io     *stdio
	stderr bool
}

// Write never waits; clients that are too far behind are cut off.
func (b broadcast) Write(p []byte) (int, error) {
	b.io.mu.Lock()
	defer b.io.mu.Unlock()
	if len(b.io.attached) == 0 {
		return len(p), nil
	}
	piece := outputPiece{stderr: b.stderr, data: slices.Clone(p)}
	b.io.attached = slices.DeleteFunc(b.io.attached, func(a *attachment) bool {
		select {
		case a.output <- piece:
			return false
		default:
			close(a.output)
			return true
		}
	})
	return len(p), nil
}

// attach adds a client that gets the output from now on.
func (o *stdio) attach() *attachment {
	a := &attachment{output: make(chan outputPiece, attachBacklog)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		close(a.output)
		return a
	}
	o.attached = append(o.attached, a)
	return a
}

// detach removes a client.
func (o *stdio) detach(a *attachment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attached = slices.DeleteFunc(o.attached, func(other *attachment) bool { return other == a })
}
