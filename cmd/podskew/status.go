package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// The rules of progress: always on stderr, never on stdout. On a terminal the step under way
// redraws one line; elsewhere a step prints one line when it starts to matter (a log that ends
// there shows where it hung) and one when it ended. Nothing is redrawn faster than ten times a
// second, nothing plain is repeated within five seconds.
const (
	redrawEvery = 100 * time.Millisecond
	plainEvery  = 5 * time.Second
)

// status reports the steps of a command to a person.
type status struct {
	w        io.Writer
	terminal bool
	quiet    bool
	prefix   string // of one run among several: its steps are shown on a terminal only while they last

	mu   sync.Mutex
	open bool // a redrawn line is on the screen without its newline
	over bool // something else draws on the screen: nothing is redrawn
}

// step is one step under way.
type step struct {
	s       *status
	text    string
	started time.Time
	stop    chan struct{}
	done    sync.WaitGroup

	mu        sync.Mutex
	detail    string
	lastPlain time.Time
}

// do runs one step and shows how it ended. The step's error is returned as it is.
func (s *status) do(text string, f func(*step) error) error {
	p := &step{s: s, text: text, started: time.Now(), lastPlain: time.Now(), stop: make(chan struct{})}
	if s.terminal && !s.quiet {
		p.done.Go(p.spin)
	} else if s.prefix == "" {
		s.line("• " + text)
	}
	err := f(p)
	close(p.stop)
	p.done.Wait()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	if s.prefix != "" {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.line(fmt.Sprintf("%s %s (%.1fs)%s", mark, text, time.Since(p.started).Seconds(), suffix(p.detail)))
	return err
}

// update replaces what the step says it is doing.
func (p *step) update(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detail = fmt.Sprintf(format, args...)
	if p.s.terminal || p.s.prefix != "" || p.detail == "" || time.Since(p.lastPlain) < plainEvery {
		return
	}
	p.lastPlain = time.Now()
	p.s.line("  " + p.text + suffix(p.detail))
}

// cover says whether something else draws on the screen.
func (s *status) cover(over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = over
}

// within says whose steps follow; "" nobody's in particular.
func (s *status) within(prefix string) { s.prefix = prefix }

// show prints whole lines between steps.
func (s *status) show(lines string) { s.line(strings.TrimRight(lines, "\n")) }

// note prints a line between steps. Of one run among several nothing but its end is told.
func (s *status) note(format string, args ...any) {
	if s.prefix == "" {
		s.line(fmt.Sprintf(format, args...))
	}
}

func (p *step) spin() {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for i := 0; ; i++ {
		p.mu.Lock()
		text := fmt.Sprintf("%c %s%s%s", frames[i%len(frames)], p.s.prefix, p.text, suffix(p.detail))
		p.mu.Unlock()
		p.s.redraw(text)
		select {
		case <-ticker.C:
		case <-p.stop:
			return
		}
	}
}

func (s *status) redraw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	runes := []rune(text)
	if len(runes) > 79 { // a wrapped line could not be redrawn
		runes = append(runes[:78], '…')
	}
	if s.over {
		return
	}
	_, _ = fmt.Fprintf(s.w, "\r\x1b[K%s", string(runes))
	s.open = true
}

func (s *status) line(text string) {
	if s.quiet {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		_, _ = io.WriteString(s.w, "\r\x1b[K")
		s.open = false
	}
	_, _ = io.WriteString(s.w, strings.TrimRight(text, " \n")+"\n")
}

func suffix(detail string) string {
	if detail == "" {
		return ""
	}
	return ": " + detail
}
