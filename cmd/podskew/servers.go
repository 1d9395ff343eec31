package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

const (
	serversWithin = 30 * time.Second
	askWithin     = 10 * time.Second // one pod, for one page
	serversAsked  = 8                // at a time
	serverRows    = 10_000           // in one answer: half a megabyte
	maxServerRows = 2_000_000        // of all pods together
)

// echoes are the echo pods of a run.
type echoes interface {
	EchoPods(ctx context.Context) ([]string, error)
	AskEcho(ctx context.Context, pod, path string) ([]byte, error)
}

// servers asks the echo pods what they counted: the other end's account of the load.
type servers struct {
	echoes echoes

	mu     sync.Mutex
	before map[string]echo.Rows // by pod, from the moment the load began
	rows   int
}

func newServers(e echoes) *servers { return &servers{echoes: e, before: map[string]echo.Rows{}} }

// begin notes how much processor time each pod has used when the load begins. What cannot be read is not known in the
// end; that is all.
func (s *servers) begin(ctx context.Context, start time.Time) error {
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil // whoever ended it says why
	}
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	pods, err := s.echoes.EchoPods(ctx)
	if err != nil {
		return nil // without pods there is nothing to note
	}
	_ = s.each(ctx, pods, func(ctx context.Context, pod string) error {
		rows, err := s.ask(ctx, pod, 0, 0)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.before[pod] = rows
		}
		return err
	})
	return nil
}

// end returns what each pod that is there now counted, in order of names. problem is a sentence if some could not be
// read; "" otherwise.
func (s *servers) end(ctx context.Context, start time.Time) (counted []record.Server, problem string) {
	pods, err := s.echoes.EchoPods(ctx)
	if err != nil {
		return nil, "what the echo pods counted could not be read: " + err.Error()
	}
	all := make([]*record.Server, len(pods))
	index := map[string]int{}
	for i, pod := range pods {
		index[pod] = i
	}
	err = s.each(ctx, pods, func(ctx context.Context, pod string) error {
		one, err := s.count(ctx, pod, start)
		if err == nil {
			all[index[pod]] = one
		}
		return err
	})
	for _, one := range all {
		if one != nil {
			counted = append(counted, *one)
		}
	}
	if err != nil {
		problem = fmt.Sprintf("what %d of %d echo pods counted could not be read: %v", len(pods)-len(counted), len(pods), err)
	}
	return counted, problem
}

// each asks all pods, a few at a time, and returns the first error.
func (s *servers) each(ctx context.Context, pods []string, ask func(context.Context, string) error) error {
	var g errgroup.Group
	g.SetLimit(serversAsked)
	for _, pod := range pods {
		g.Go(func() error { return ask(ctx, pod) })
	}
	return g.Wait()
}

// count reads one pod's account, page by page.
func (s *servers) count(ctx context.Context, pod string, start time.Time) (*record.Server, error) {
	page, err := s.ask(ctx, pod, 0, serverRows)
	if err != nil {
		return nil, err
	}
	out := &record.Server{
		Pod: pod, At: time.Since(start).Seconds(), CPULimit: page.CPULimit,
		Requests: int(page.Requests), Connections: int(page.Connections),
	}
	s.mu.Lock()
	before, known := s.before[pod]
	s.mu.Unlock()
	if known && page.CPUSeconds > 0 && page.Seconds > before.Seconds {
		out.Seconds, out.CPUSeconds = page.Seconds-before.Seconds, page.CPUSeconds-before.CPUSeconds
	}
	for {
		for _, row := range page.Rows {
			out.Rows = append(out.Rows, record.ServerConnection{Connection: row.Connection, Client: row.Client, Requests: int(row.Requests)})
		}
		if page.Next == 0 || !s.room(len(page.Rows)) {
			break
		}
		if page, err = s.ask(ctx, pod, page.Next, serverRows); err != nil {
			return nil, err
		}
	}
	out.Truncated = max(0, out.Connections-len(out.Rows))
	return out, nil
}

// room books rows that were read, and tells whether more may be.
func (s *servers) room(rows int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows += rows
	return rows > 0 && s.rows < maxServerRows
}

func (s *servers) ask(ctx context.Context, pod string, from, limit int) (echo.Rows, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	body, err := s.echoes.AskEcho(ctx, pod, fmt.Sprintf("/stats?rows=compact&from=%d&limit=%d", from, limit))
	if err != nil {
		return echo.Rows{}, err
	}
	var rows echo.Rows
	if err := json.Unmarshal(body, &rows); err != nil {
		return echo.Rows{}, fmt.Errorf("pod %s: reading its counts: %w", pod, err)
	}
	if rows.Pod != pod {
		return echo.Rows{}, errors.New("pod " + pod + " calls itself " + rows.Pod)
	}
	return rows, nil
}
