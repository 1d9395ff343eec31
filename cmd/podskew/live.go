package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// flushEvery bounds what a kill -9 can take from the record.
const flushEvery = time.Second

// live writes the results of all agents into the record as they arrive, and shows where the run is.
type live struct {
	step   *step
	record *record.Writer
	watch  *watch // nil: nobody watches

	mu        sync.Mutex
	progress  map[string]loadgen.Progress // by stream and agent
	waiting   []*reaching
	lastFlush time.Time
	trouble   []string
	last      float64 // seconds from the start to the last agent's end
	stride    int     // the samples of some agent hold one request in so many
}

func newLive(p *step, w *record.Writer) *live {
	return &live{step: p, record: w, progress: map[string]loadgen.Progress{}, lastFlush: time.Now()}
}

// sink returns the sink of one agent's stream.
func (l *live) sink(stream, agent string) loadgen.Sink {
	return func(m loadgen.Message) error {
		l.watch.observe(stream, agent, m)
		if m.Progress != nil {
			l.show(stream+" "+agent, *m.Progress)
		}
		if m.Done != nil {
			l.end(*m.Done)
		}
		if err := l.write(m); err != nil {
			return environmentError(err, "")
		}
		return l.flush()
	}
}

// write puts into the record what a message has for it. Rows of open connections go there, too: of several rows of a
// connection the last one counts, and after a kill -9 they are all there is of a long-lived one.
func (l *live) write(m loadgen.Message) error {
	line := record.Line{Connections: m.Connections, Tallies: m.Tallies, Samples: m.Samples}
	if len(m.Open) > 0 {
		line.Connections = m.Open
	}
	if len(line.Connections)+len(line.Tallies)+len(line.Samples) > 0 {
		if err := l.record.Write(line); err != nil {
			return err
		}
	}
	if m.Done != nil && m.Done.Generator != nil {
		return l.record.Write(record.Line{Generator: m.Done.Generator})
	}
	return nil
}

func (l *live) flush() error {
	l.mu.Lock()
	due := time.Since(l.lastFlush) >= flushEvery
	if due {
		l.lastFlush = time.Now()
	}
	l.mu.Unlock()
	if !due {
		return nil
	}
	if err := l.record.Flush(); err != nil {
		return environmentError(err, "")
	}
	return nil
}

func (l *live) show(key string, p loadgen.Progress) {
	l.mu.Lock()
	l.progress[key] = p
	l.arrived()
	sum := loadgen.Progress{Seconds: p.Seconds}
	for _, one := range l.progress {
		sum.Requests += one.Requests
		sum.Errors += one.Errors
		sum.Connections += one.Connections
		sum.Seconds = max(sum.Seconds, one.Seconds)
	}
	l.mu.Unlock()
	switch {
	case sum.Seconds <= 0 && sum.Connections == 0:
		return
	case sum.Seconds <= 0:
		l.step.update("warming up for another %.0fs, %s", max(1, -sum.Seconds), count(sum.Connections, "connection"))
		return
	}
	errs := ""
	if sum.Errors > 0 {
		errs = fmt.Sprintf(", %d failed", sum.Errors)
	}
	l.step.update("%d requests on %s in %.0fs%s", sum.Requests, count(sum.Connections, "connection"), sum.Seconds, errs)
}

func (l *live) end(d loadgen.Done) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = max(l.last, d.Seconds)
	l.stride = max(l.stride, d.SampleStride)
	l.trouble = append(l.trouble, d.Problems...) // which name the agent
}

// problems returns what the agents could not do, in a fixed order.
func (l *live) problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.trouble))
}

// ended is when the last agent ended, 0 if none did, and how the samples were thinned.
func (l *live) ended() (seconds float64, stride int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.stride
}
