package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

const (
	eventWithin   = 30 * time.Second // one event; a drain whose budget forbids it lasts as long
	endWithin     = 15 * time.Second // until every agent knows when its load ends
	restoreWithin = 60 * time.Second // until a node that was killed is ready again
)

// doer does the events of a run's scenario to the cluster: *cluster.Run, or a test's.
type doer interface {
	Do(ctx context.Context, index int) (*cluster.Done, error)
	WaitEffective(ctx context.Context, done *cluster.Done, probe cluster.Probe) (unknown bool, err error)
	FollowEndpoints(ctx context.Context, seen func([]record.Event)) error
}

// conductor does events while load is sent, and writes down what happened when.
type conductor struct {
	doer   doer
	probe  cluster.Probe
	events []scenarios.Event
	start  time.Time
	reach  func(ctx context.Context, requests int) error // waits until so many requests are answered
	write  func(record.Event) error
	tell   func(format string, args ...any) // progress, for people

	least  time.Duration                              // that the load lasts
	settle time.Duration                              // load after the last event is known everywhere; 0: the load ends by itself
	end    func(context.Context, time.Duration) error // has the load end at a time since the start

	acting  chan struct{} // holds one while an event is done: one at a time
	effects sync.WaitGroup

	mu    sync.Mutex
	done  int
	first error // of writing
}

// conduct does all events, each at its time, until loaded ends. An event that could not be done is an error, and so is one
// that has not come by then a sentence among the problems.
func (c *conductor) conduct(ctx, loaded context.Context) (problems []string, err error) {
	if len(c.events) == 0 {
		return nil, nil
	}
	until, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(loaded, stop)()
	var watching sync.WaitGroup
	var watchErr error
	watching.Go(func() {
		watchErr = c.doer.FollowEndpoints(until, func(seen []record.Event) {
			for _, e := range seen {
				e.At = c.now()
				c.record(e)
			}
		})
	})
	timed, counted := c.order()
	var running sync.WaitGroup
	errs := make([]error, 2)
	for i, list := range [][]int{timed, counted} {
		running.Go(func() {
			if errs[i] = c.inOrder(until, list); errs[i] != nil {
				stop()
			}
		})
	}
	running.Wait()
	if errors.Join(errs...) == nil && c.settle > 0 {
		c.effects.Wait()
		if until.Err() == nil {
			errs = append(errs, c.end(until, max(c.least, time.Since(c.start)+c.settle)))
		}
	}
	if errors.Join(errs...) == nil && until.Err() == nil {
		<-until.Done() // the endpoints are followed, and what comes of events waited for, as long as there is load
	}
	stop()
	c.effects.Wait()
	watching.Wait()
	if watchErr != nil {
		problems = append(problems, "the endpoints could not be followed: "+watchErr.Error())
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		return problems, err
	}
	return append(problems, c.missed()...), cmp.Or(c.first, ctx.Err())
}

// order returns the events that come at a time and those that come after a number of requests, by index, as they are due.
func (c *conductor) order() (timed, counted []int) {
	for i, e := range c.events {
		if e.AfterRequests > 0 {
			counted = append(counted, i)
		} else {
			timed = append(timed, i)
		}
	}
	slices.SortStableFunc(timed, func(a, b int) int { return cmp.Compare(c.events[a].At, c.events[b].At) })
	slices.SortStableFunc(counted, func(a, b int) int {
		return cmp.Compare(c.events[a].AfterRequests, c.events[b].AfterRequests)
	})
	return timed, counted
}

// inOrder waits for each of the events and does it. That ctx ended is no error: the load is over.
func (c *conductor) inOrder(ctx context.Context, list []int) error {
	for _, i := range list {
		if c.due(ctx, c.events[i]) != nil {
			return nil //nolint:nilerr // the load ended before
		}
		if err := c.one(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// due waits for an event's time.
func (c *conductor) due(ctx context.Context, e scenarios.Event) error {
	if e.AfterRequests > 0 {
		return c.reach(ctx, e.AfterRequests)
	}
	timer := time.NewTimer(time.Until(c.start.Add(e.At)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// one does one event and has what comes of it waited for behind it.
func (c *conductor) one(ctx context.Context, index int) error {
	select {
	case c.acting <- struct{}{}:
		defer func() { <-c.acting }()
	case <-ctx.Done():
		return nil // the load ended before
	}
	at := c.now()
	// Not ended by the end of the load: an event that has begun is brought to its end.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventWithin)
	defer cancel()
	done, err := c.doer.Do(within, index)
	if err != nil {
		return environmentError(fmt.Errorf("doing event %d of the scenario: %w", index+1, err), c.hint(c.events[index]))
	}
	c.mu.Lock()
	c.done++
	c.mu.Unlock()
	c.tell("%s at %.1fs", done.Event.What, at)
	c.effects.Go(func() {
		e := done.Event
		e.At = at
		if unknown, err := c.doer.WaitEffective(ctx, done, c.probe); err == nil && !unknown {
			e.Effective = c.now()
		}
		c.record(e)
	})
	return nil
}

// hint is what to do about an event that failed.
func (c *conductor) hint(e scenarios.Event) string {
	switch {
	case e.Drain != "":
		return "a PodDisruptionBudget that selects the run's pods forbids evictions: kubectl get pdb -A"
	case e.RestartKubeProxy != "":
		return "on clusters without pods of kube-proxy, restart it on the node by hand"
	}
	return ""
}

func (c *conductor) now() float64 { return time.Since(c.start).Seconds() }

// record writes an event into the record; the first error is kept.
func (c *conductor) record(e record.Event) {
	if err := c.write(e); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.first = cmp.Or(c.first, environmentError(err, ""))
	}
}

// missed says that events did not come while there was load.
func (c *conductor) missed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.events) - c.done; n > 0 {
		return []string{fmt.Sprintf("%d of %d events did not happen: the load had ended before", n, len(c.events))}
	}
	return nil
}

// conductor returns what does the run's events.
func (r *session) conductor(live *live) *conductor {
	return &conductor{
		acting: make(chan struct{}, 1), least: longest(r.scenario), settle: r.scenario.Spec.Settle, end: r.endLoad,
		doer: r.deployed, probe: r.probe, events: r.scenario.Spec.Events, start: r.start, reach: live.reach,
		write: func(e record.Event) error { return r.dir.record.Write(record.Line{Event: &e}) },
		tell:  func(format string, args ...any) { r.st.note("  "+format, args...) },
	}
}

// longest is how long the clients that send for a time do so.
func longest(s *scenarios.Scenario) time.Duration {
	most := time.Duration(0)
	for i := range s.Spec.Clients {
		most = max(most, s.Spec.Clients[i].Duration)
	}
	return most
}

// endLoad tells every agent when its load is to end.
func (r *session) endLoad(ctx context.Context, at time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range r.streams {
		for _, agent := range s.Agents {
			g.Go(func() error {
				return loadgen.End(ctx, r.post(agent.Name), loadgen.EndRequest{
					StopRequest: loadgen.StopRequest{Run: r.id, Stream: s.ID, Agent: agent.Name}, At: at,
				})
			})
		}
	}
	if err := g.Wait(); err != nil {
		return environmentError(err, "")
	}
	return nil
}

// restore undoes what events did to nodes, also after an interrupt, unless the cluster ends now anyway.
func (r *session) restore(ctx context.Context) error {
	if r.gone() || r.given.disposable && (r.last || context.Cause(ctx) != nil) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWithin)
	defer cancel()
	if err := r.deployed.Restore(ctx); err != nil {
		return environmentError(fmt.Errorf("undoing what events did to nodes: %w", err), "kubectl uncordon NODE")
	}
	return nil
}
