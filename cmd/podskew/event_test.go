package main

import (
	"bytes"
	std "cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// stage is a cluster that does what it is told, and takes its time.
type stage struct {
	start  time.Time
	fails  map[int]error
	takes  time.Duration // until an event is done
	learns time.Duration // until every node knows

	mu  sync.Mutex
	did []string
}

func (s *stage) Do(ctx context.Context, index int) (*cluster.Done, error) {
	at := time.Since(s.start)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, fmt.Sprintf("%d at %s", index, at))
	return &cluster.Done{Event: record.Event{What: fmt.Sprintf("event %d", index), Kind: record.EventLabel}}, s.fails[index]
}

func (s *stage) WaitEffective(ctx context.Context, done *cluster.Done, _ cluster.Probe) (bool, error) {
	if strings.HasSuffix(done.Event.What, "3") {
		return true, nil
	}
	select {
	case <-time.After(s.learns):
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *stage) FollowEndpoints(ctx context.Context, seen func([]record.Event)) error {
	select {
	case <-time.After(1500 * time.Millisecond):
		seen([]record.Event{{What: "echo-0 is a ready endpoint", Kind: record.EventReady, Target: "echo-0"}})
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// play conducts events against a load of a length, with so many answers in each second.
func play(t *testing.T, s *stage, load time.Duration, perSecond int, events []scenarios.Event) (recorded []record.Event, told, problems []string, err error) {
	t.Helper()
	s.start = time.Now()
	l := newLive(&step{s: &status{w: &bytes.Buffer{}, quiet: true}}, nil)
	var writing sync.Mutex
	c := &conductor{
		acting: make(chan struct{}, 1), doer: s, events: events, start: s.start, reach: l.reach,
		write: func(e record.Event) error {
			writing.Lock()
			defer writing.Unlock()
			recorded = append(recorded, e)
			return nil
		},
		tell: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) },
	}
	loaded, end := context.WithTimeout(context.WithoutCancel(t.Context()), load)
	defer end()
	var agent sync.WaitGroup
	agent.Go(func() {
		for n := 1; loaded.Err() == nil; n++ {
			select {
			case <-time.After(time.Second):
				l.show("web web-0", loadgen.Progress{Requests: n * perSecond, Seconds: float64(n)})
			case <-loaded.Done():
			}
		}
	})
	problems, err = c.conduct(t.Context(), loaded)
	if err == nil && loaded.Err() == nil {
		t.Error("it did not last as long as the load")
	}
	end()
	agent.Wait()
	return recorded, told, problems, err
}

func TestEventsComeInTheOrderOfTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{learns: 300 * time.Millisecond}
		recorded, told, problems, err := play(t, s, 5*time.Second, 10, []scenarios.Event{
			{At: 2 * time.Second}, {At: time.Second}, {AfterRequests: 35}, {At: 2 * time.Second},
		})
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		if diff := cmp.Diff([]string{"1 at 1s", "0 at 2s", "3 at 2s", "2 at 4s"}, s.did); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"event 1 at 1.0s", "event 0 at 2.0s", "event 3 at 2.0s", "event 2 at 4.0s"}, told); diff != "" {
			t.Error(diff)
		}
		slices.SortStableFunc(recorded, func(a, b record.Event) int { return strings.Compare(a.What, b.What) })
		want := []record.Event{
			{At: 1.5, What: "echo-0 is a ready endpoint", Kind: record.EventReady, Target: "echo-0"},
			{At: 2, What: "event 0", Kind: record.EventLabel, Effective: 2.3},
			{At: 1, What: "event 1", Kind: record.EventLabel, Effective: 1.3},
			{At: 4, What: "event 2", Kind: record.EventLabel, Effective: 4.3},
			{At: 2, What: "event 3", Kind: record.EventLabel}, // of which nodes have nothing to learn
		}
		if diff := cmp.Diff(want, recorded); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatTheLoadDoesNotWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorded, _, problems, err := play(t, &stage{learns: time.Minute}, 3*time.Second, 10, []scenarios.Event{{At: time.Second}, {AfterRequests: 1000}, {At: 4 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"2 of 3 events did not happen: the load had ended before"}, problems); diff != "" {
			t.Error(diff)
		}
		i := slices.IndexFunc(recorded, func(e record.Event) bool { return e.What == "event 0" })
		if i < 0 || recorded[i].Effective != 0 {
			t.Errorf("recorded %+v", recorded)
		}
	})
}

// settling conducts events with settle, against a load of 4 s that goes on for a minute at most unless it is told to end.
func settling(t *testing.T, s *stage, endFails error, events []scenarios.Event) (recorded []record.Event, end time.Duration, err error) {
	t.Helper()
	s.start = time.Now()
	loaded, finish := context.WithTimeout(context.WithoutCancel(t.Context()), 64*time.Second)
	defer finish()
	var writing sync.Mutex
	c := &conductor{
		acting: make(chan struct{}, 1), doer: s, events: events, start: s.start, least: 4 * time.Second, settle: 2 * time.Second,
		write: func(e record.Event) error {
			writing.Lock()
			defer writing.Unlock()
			recorded = append(recorded, e)
			return nil
		},
		tell: func(string, ...any) {},
		end: func(_ context.Context, at time.Duration) error {
			if end = at; endFails == nil {
				time.AfterFunc(time.Until(s.start.Add(at)), finish)
			}
			return endFails
		},
	}
	if problems, err := c.conduct(t.Context(), loaded); err != nil || len(problems) > 0 {
		return recorded, end, errors.Join(err, errors.New(strings.Join(problems, "; ")))
	}
	return recorded, end, nil
}

func TestALoadThatSettlesEndsAfterWhatCameOfTheLastEvent(t *testing.T) {
	for name, tc := range map[string]struct {
		learns time.Duration
		want   time.Duration
	}{
		"at once: it lasts as long as clients do": {100 * time.Millisecond, 4 * time.Second},
		"later: so much after that":               {10 * time.Second, 13 * time.Second},
		"never: until the load ends by itself":    {5 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{learns: tc.learns}
				_, end, err := settling(t, s, nil, []scenarios.Event{{At: time.Second}, {At: 500 * time.Millisecond}})
				if took := time.Since(s.start); err != nil || end != tc.want || took != std.Or(tc.want, 64*time.Second) {
					t.Errorf("%v; it was to end at %s and took %s", err, end, took)
				}
			})
		})
	}
}

func TestAnAgentThatCannotBeToldItsEndEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{learns: time.Second}
		_, _, err := settling(t, s, errors.New("gone"), []scenarios.Event{{At: time.Second}})
		if err == nil || err.Error() != "gone\n" || time.Since(s.start) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(s.start))
		}
	})
}

func TestOneEventAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{takes: 2 * time.Second}
		recorded, _, _, err := play(t, s, 6*time.Second, 10, []scenarios.Event{{At: time.Second}, {AfterRequests: 20}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"0 at 1s", "1 at 3s"}, s.did); diff != "" {
			t.Error(diff)
		}
		if i := slices.IndexFunc(recorded, func(e record.Event) bool { return e.What == "event 1" }); i < 0 || recorded[i].At != 3 {
			t.Errorf("recorded %+v", recorded)
		}
	})
}

func TestAnEventThatBeganIsBroughtToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{takes: 5 * time.Second}
		_, _, problems, err := play(t, s, 2*time.Second, 10, []scenarios.Event{{At: time.Second}})
		if err != nil || len(problems) > 0 || len(s.did) != 1 {
			t.Errorf("%v, problems %q, did %q", err, problems, s.did)
		}
	})
}

func TestAnEventThatFailsEndsTheRunWithAHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fails: map[int]error{1: errors.New("forbidden")}}
		_, _, _, err := play(t, s, time.Minute, -1, []scenarios.Event{{At: time.Second}, {At: 2 * time.Second, Drain: "worker"}, {At: 3 * time.Second}})
		failed, ok := errors.AsType[*exitError](err)
		if !ok || failed.code != exitEnvironment || err.Error() != "doing event 2 of the scenario: forbidden" || !strings.Contains(failed.hint, "PodDisruptionBudget") {
			t.Errorf("got %v, hint %q", err, failed.hint)
		}
		if took := time.Since(s.start); took != 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAnEventHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{takes: time.Hour}
		_, _, _, err := play(t, s, 2*time.Hour, -1, []scenarios.Event{{At: time.Second}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(s.start) != time.Second+eventWithin {
			t.Errorf("%v after %s", err, time.Since(s.start))
		}
	})
}
