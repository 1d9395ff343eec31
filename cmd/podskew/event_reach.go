package main

import "context"

// reaching is somebody who waits until clients together have had so many answers.
type reaching struct {
	requests int
	reached  chan struct{}
}

// reach waits until so many requests have been answered, as far as agents have told, which they do every second or so.
func (l *live) reach(ctx context.Context, requests int) error {
	w := &reaching{requests: requests, reached: make(chan struct{})}
	l.mu.Lock()
	if l.requests() >= requests {
		close(w.reached)
	} else {
		l.waiting = append(l.waiting, w)
	}
	l.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// requests is how many requests of all agents have an answer. l.mu is held.
func (l *live) requests() (n int) {
	for _, p := range l.progress {
		n += p.Requests
	}
	return n
}

// arrived lets go those who waited for what has been reached. l.mu is held.
func (l *live) arrived() {
	if len(l.waiting) == 0 {
		return
	}
	n := l.requests()
	kept := l.waiting[:0]
	for _, w := range l.waiting {
		if n >= w.requests {
			close(w.reached)
		} else {
			kept = append(kept, w)
		}
	}
	l.waiting = kept
}
