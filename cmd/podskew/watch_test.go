package main

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// screen collects what is written, from any goroutine.
type screen struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *screen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.out.Reset()
	return s.out.String()
}

func told(requests int, pods map[string]int) []loadgen.Message {
	m := loadgen.Message{}
	for pod, n := range pods {
		m.Tallies = append(m.Tallies, record.Tally{Backend: pod, Requests: n})
	}
	return []loadgen.Message{m, {Progress: &loadgen.Progress{Seconds: 2, Requests: requests, Connections: 2}}}
}

func TestWatchingDrawsOnTheOtherScreenAndGivesItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		var columns atomic.Int64
		columns.Store(80)
		v := newWatch(&out, true, func() (int, int) { return int(columns.Load()), 24 }, []record.Stream{{ID: "web"}}, []string{"echo-a", "echo-b"})
		for _, m := range told(100, map[string]int{"echo-a": 75, "echo-b": 25}) {
			v.observe("web", "agent-1", m)
		}
		for _, m := range told(100, map[string]int{"echo-a": 75, "echo-b": 25}) {
			v.observe("web", "agent-2", m)
		}
		time.Sleep(watchEvery + 1)
		synctest.Wait()
		first := out.take()
		if !strings.HasPrefix(first, enterScreen) || !strings.Contains(first, "200 requests on 4 connections") || !strings.Contains(first, "75.0 %") {
			t.Errorf("the first drawing is %q", first)
		}
		columns.Store(30) // resized
		time.Sleep(watchEvery)
		synctest.Wait()
		for line := range strings.SplitSeq(out.take(), "\r\n") {
			line = strings.NewReplacer(homeCursor, "", clearLine, "", clearBelow, "").Replace(line)
			if n := len([]rune(line)); n > 29 {
				t.Errorf("after the terminal shrank to 30 columns, a line has %d: %q", n, line)
			}
		}
		v.close()
		if end := out.take(); !strings.HasSuffix(end, leaveScreen) {
			t.Errorf("at the end it wrote %q", end)
		}
	})
}

func TestWatchingWithoutATerminalPrintsPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out screen
		v := newWatch(&out, false, nil, []record.Stream{{ID: "web"}}, nil)
		for _, m := range told(10, map[string]int{"echo-a": 10}) {
			v.observe("web", "agent-1", m)
		}
		time.Sleep(plainEvery + 1)
		synctest.Wait()
		v.close()
		if got := out.take(); strings.Contains(got, "\x1b") || !strings.Contains(got, "echo-a") {
			t.Errorf("it printed %q", got)
		}
	})
}
