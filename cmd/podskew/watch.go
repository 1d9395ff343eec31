package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/report"
)

const (
	watchEvery = 250 * time.Millisecond
	// What is drawn goes to the terminal's other screen: that has no lines to scroll or to be broken anew when the
	// terminal is resized, and what was there before comes back at the end.
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// watch shows the shares per pod while the load goes on. Without a terminal it prints them now and then.
type watch struct {
	w        io.Writer
	terminal bool
	size     func() (columns, rows int)

	mu       sync.Mutex
	order    []string // streams as they were first heard of
	streams  map[string]*report.LiveStream
	progress map[[2]string]loadgen.Progress // by stream and agent
	seconds  float64

	stop chan struct{}
	done sync.WaitGroup
	gone func() // called when the screen is given back
}

// watch starts to show streams in the place of the progress of st.
func (e *env) watch(st *status, streams []record.Stream, pods []string) *watch {
	size := func() (int, int) { return 80, 24 }
	if e.stderrSize != nil {
		size = e.stderrSize
	}
	st.cover(e.stderrTerminal)
	v := newWatch(e.stderr, e.stderrTerminal, size, streams, pods)
	v.gone = func() { st.cover(false) }
	return v
}

// echoPods are the names of the pods that may answer.
func echoPods(facts *record.Facts) []string {
	var names []string
	for _, p := range facts.Pods {
		if p.Role == "echo" {
			names = append(names, p.Name)
		}
	}
	return names
}

// newWatch starts to show the streams. Pods are the names that are shown before they have answered.
func newWatch(w io.Writer, terminal bool, size func() (columns, rows int), streams []record.Stream, pods []string) *watch {
	v := &watch{w: w, terminal: terminal, size: size, streams: map[string]*report.LiveStream{}, progress: map[[2]string]loadgen.Progress{}, stop: make(chan struct{})}
	for i := range streams {
		s := v.stream(streams[i].ID)
		for _, pod := range pods {
			s.Backends[pod] = 0
		}
	}
	v.done.Go(v.draw)
	return v
}

// stream returns a stream, making it when it is first heard of. The caller holds the lock, or is alone.
func (v *watch) stream(id string) *report.LiveStream {
	s := v.streams[id]
	if s == nil {
		s = &report.LiveStream{Name: id, Backends: map[string]int{}}
		v.streams[id] = s
		v.order = append(v.order, id)
	}
	return s
}

// observe takes a message of one agent. A nil watch takes nothing.
func (v *watch) observe(stream, agent string, m loadgen.Message) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.Progress != nil {
		v.progress[[2]string{stream, agent}] = *m.Progress
		v.seconds = max(v.seconds, m.Progress.Seconds)
	}
	s := v.stream(stream)
	for i := range m.Tallies {
		if t := &m.Tallies[i]; t.Backend != "" {
			s.Backends[t.Backend] += t.Requests
		}
	}
}

// close ends the showing and gives the screen back.
func (v *watch) close() {
	if v == nil {
		return
	}
	close(v.stop)
	v.done.Wait()
	if v.gone != nil {
		v.gone()
	}
}

// live returns where the run stands.
func (v *watch) live() report.Live {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := report.Live{Seconds: v.seconds}
	for _, id := range v.order {
		s := *v.streams[id]
		s.Backends = maps.Clone(v.streams[id].Backends)
		for key, p := range v.progress {
			if key[0] == id {
				s.Requests += p.Requests
				s.Errors += p.Errors
				s.Connections += p.Connections
			}
		}
		l.Streams = append(l.Streams, s)
	}
	return l
}

func (v *watch) draw() {
	every := plainEvery
	if v.terminal {
		every = watchEvery
		_, _ = io.WriteString(v.w, enterScreen)
		defer func() { _, _ = io.WriteString(v.w, leaveScreen) }()
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-ticker.C:
			_, _ = v.w.Write(v.frame())
		}
	}
}

// frame is what is written for one drawing, in one piece so that nothing flickers.
func (v *watch) frame() []byte {
	var out bytes.Buffer
	columns, rows := 80, 200
	if v.terminal {
		columns, rows = v.size()
	}
	lines := report.LiveFrame(v.live(), max(columns-1, 1), rows)
	if !v.terminal {
		fmt.Fprintf(&out, "%s\n", strings.Join(lines, "\n"))
		return out.Bytes()
	}
	out.WriteString(homeCursor)
	for i, line := range lines {
		if i > 0 {
			out.WriteString("\r\n")
		}
		out.WriteString(line + clearLine)
	}
	out.WriteString(clearBelow)
	return out.Bytes()
}
