package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/podskew/podskew/cluster"
)

// sweeper removes what a run deployed while the next one is deployed. Nobody's load runs meanwhile: vacated waits until
// nodes and kube-proxies have nothing left to do for what is removed. From then on only the API server is busy with it, for
// the five seconds that a namespace takes to end. The zero sweeper is ready.
type sweeper struct {
	going  sync.WaitGroup
	gone   chan struct{} // closed when nothing of the run swept last is on a node; nil: none was swept
	cancel context.CancelFunc

	mu   sync.Mutex
	errs []error
}

// sweep begins to remove a run.
func (s *sweeper) sweep(ctx context.Context, run *cluster.Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	gone := make(chan struct{})
	s.gone, s.cancel = gone, cancel
	s.going.Go(func() {
		defer cancel()
		err := run.Vacate(ctx)
		close(gone)
		err = errors.Join(err, run.Remove(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	})
}

// vacated waits until nodes and kube-proxies know nothing of the run swept last.
func (s *sweeper) vacated(ctx context.Context) error {
	if s.gone == nil {
		return nil
	}
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of the run before: %w", context.Cause(ctx))
	}
}

// busy reports whether anything was swept.
func (s *sweeper) busy() bool { return s.gone != nil }

// wait returns when all that was swept is gone, with what went wrong.
func (s *sweeper) wait() error {
	s.going.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// stop gives up what is still to be removed: the cluster ends with it.
func (s *sweeper) stop() {
	if s.cancel != nil {
		s.cancel()
	}
	s.going.Wait()
}
