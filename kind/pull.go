package kind

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pullWithin bounds a whole pull: a node image is about a gigabyte.
const pullWithin = 15 * time.Minute

// Pull is a node image on its way.
type Pull struct {
	answered chan struct{}
	done     chan struct{}
	cancel   context.CancelFunc
	ctx      context.Context //nolint:containedctx // the pull's own, which Wait tells apart from the caller's

	mu       sync.Mutex
	progress func(string)
	once     sync.Once
	said     string
	err      error // read after done
}

// StartPull has the engine pull an image and returns as soon as the registry has answered, or with an *Error if it has
// not within the given time. Asking the engine rather than the registry is the point: only the engine knows its mirrors,
// proxies and credentials. The caller must Wait.
func (e *Engine) StartPull(ctx context.Context, image string, within time.Duration) (*Pull, error) {
	pulling, cancel := context.WithTimeout(ctx, pullWithin)
	p := &Pull{answered: make(chan struct{}), done: make(chan struct{}), cancel: cancel, ctx: pulling}
	cmd := exec.CommandContext(pulling, e.Name, "pull", image) //nolint:gosec // name is docker or podman
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	reader, writer := io.Pipe()
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = writer, writer
	if e.Name == "docker" {
		cmd.Stderr = &complaint
	}
	var lines sync.WaitGroup
	lines.Go(func() { p.follow(reader) })
	go func() {
		err := cmd.Run()
		_ = writer.Close()
		lines.Wait()
		if err != nil {
			p.err = errors.New(cmp.Or(lastLine(complaint.String()), p.said, err.Error()))
		}
		close(p.done)
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.answered:
		return p, nil
	case <-p.done:
		cancel()
		if p.err == nil {
			return p, nil
		}
	case <-timer.C:
		p.stop()
		p.err = fmt.Errorf("no answer from the registry within %v", within)
	case <-ctx.Done():
		p.stop()
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return nil, e.noImage(ctx, image, p.err)
}

// follow reads what the engine says. The first sign of a manifest or a layer means that the registry has answered.
func (p *Pull) follow(r io.Reader) {
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line == "" {
			continue
		}
		p.mu.Lock()
		p.said = line
		progress := p.progress
		p.mu.Unlock()
		for _, sign := range []string{"Pulling from", "Getting image source", "Copying blob", "Pulling fs layer", "Status: "} {
			if strings.Contains(line, sign) {
				p.once.Do(func() { close(p.answered) })
			}
		}
		if progress != nil {
			progress(line)
		}
	}
	_, _ = io.Copy(io.Discard, r) // after a line too long to scan
}

// Wait waits until the image is there. progress gets what the engine says, line by line; it may be nil.
func (p *Pull) Wait(ctx context.Context, progress func(string)) error {
	p.mu.Lock()
	p.progress = progress
	p.mu.Unlock()
	defer p.cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		p.stop()
		return context.Cause(ctx)
	}
	switch {
	case p.err == nil:
		return nil
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case errors.Is(p.ctx.Err(), context.DeadlineExceeded):
		return &Error{fmt.Sprintf("pulling the node image took longer than %v", pullWithin), "pull it by hand, then run podskew again"}
	}
	return &Error{"pulling the node image failed: " + p.err.Error(), "run podskew again: layers that are there are not pulled twice"}
}

func (p *Pull) stop() {
	p.cancel()
	<-p.done
}

// noImage says that there is no node image and every way to get one.
func (e *Engine) noImage(ctx context.Context, image string, err error) error {
	tag, _, _ := strings.Cut(image, "@")
	remedy := fmt.Sprintf("on a machine with a network \"%[1]s pull %[2]s && %[1]s save -o node.tar %[2]s\", here \"%[1]s load -i node.tar\"; or --cluster lab, which needs no images",
		e.Name, tag)
	if here := e.nodeImages(ctx); len(here) > 0 {
		remedy = "of the node images here (" + strings.Join(here, ", ") + ") choose one with --node-image (cluster up: --image); or " + remedy
	}
	return &Error{fmt.Sprintf("the node image %s is not here and cannot be pulled: %v", tag, err), remedy}
}
