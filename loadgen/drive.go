package loadgen

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/podskew/podskew/record"
)

// Paths of an agent's API. All but HealthPath take POST and need the header [echo.HeaderToken].
const (
	RunPath    = "/v1/run"   // a Plan in, a stream of Message out
	StopPath   = "/v1/stop"  // a StopRequest in, nothing out: the plan ends early, as interrupted, and its stream with Done
	EndPath    = "/v1/end"   // an EndRequest in, nothing out: the plan ends at a time, as if that were its duration
	ProbePath  = "/v1/probe" // a ProbeRequest in, a ProbeResult out
	HealthPath = "/healthz"
)

const (
	// maxSilence is how long an agent may send nothing. It reports progress four times a second.
	maxSilence = 15 * time.Second
	// stopWithin is how long an agent that was told to stop may take for it, the way there included.
	stopWithin = 4 * time.Second
	// maxSkew is how far an agent's clock may be off, beyond what the round trip leaves open.
	maxSkew = 250 * time.Millisecond
	// probeWithin is how long Probe has an agent try.
	probeWithin = 2 * time.Second
	// probePath is a page of echo pods that they do not count among the requests they answered.
	probePath = "/healthz"
	// openEvery is how often the sink gets the rows of open connections at most, for so many rows; for more, less often.
	openEvery = 3 * time.Second
	openRows  = 10_000
)

// ErrInterrupted is what Drive's error wraps when an agent was told to stop by somebody else than Drive: its pod
// was deleted, or it reached the end of its lifetime.
var ErrInterrupted = errors.New("it was told to stop")

// Reasons for giving up on a stream.
var (
	errSilent   = fmt.Errorf("nothing was heard of it for %s", maxSilence)
	errEnded    = errors.New("its results broke off")
	errNotEnded = fmt.Errorf("it did not end within %s of being told to", stopWithin)
)

// Post sends body to one agent's path and returns the body of a 2xx answer; anything else is an error. It adds the
// token. Cancelling ctx must end reads from the body, too.
type Post func(ctx context.Context, path string, body io.Reader) (io.ReadCloser, error)

// StopRequest names the plan that is to end.
type StopRequest struct {
	Run    string `json:"run"`
	Stream string `json:"stream"`
	Agent  string `json:"agent"`
}

// EndRequest says when a plan that is running is to end.
type EndRequest struct {
	StopRequest
	At time.Duration `json:"at"` // since Plan.Start, by the agent's clock; no earlier than now and no later than the plan's own duration has an effect
}

// End has an agent end a plan at a time. It returns once the agent knows, at once if the plan has ended already.
func End(ctx context.Context, post Post, end EndRequest) error {
	body, err := json.Marshal(end)
	if err != nil {
		return fmt.Errorf("encoding when the load is to end: %w", err)
	}
	answer, err := post(ctx, EndPath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("telling agent %s when its load is to end: %w", end.Agent, err)
	}
	return answer.Close()
}

// Drive has an agent run plan through post and feeds sink with what comes back. It returns nil once Done arrived, also
// when ctx was cancelled: then the agent is told to stop, and what it had measured still arrives, within a few seconds.
// An agent that ends without Done is an error that says so; everything it sent before has reached the sink by then, with
// the rows of connections that were open when the stream broke off. An error of the sink is returned as it is.
func Drive(ctx context.Context, post Post, plan Plan, sink Sink) error {
	if err := plan.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("encoding the plan: %w", err)
	}
	d := conversation{plan: plan, post: post, sink: sink, open: map[int]record.Connection{}}
	// The stream outlives ctx by a moment, so that an interrupted agent can hand over what it has.
	streamCtx, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	refuse := context.AfterFunc(ctx, func() { giveUp(context.Cause(ctx)) })
	d.asked = time.Now()
	stream, err := post(streamCtx, RunPath, bytes.NewReader(body))
	if err != nil {
		refuse()
		return fmt.Errorf("giving agent %s its plan: %w", plan.Agent, err)
	}
	defer stream.Close()
	if !refuse() {
		return fmt.Errorf("giving agent %s its plan: %w", plan.Agent, context.Cause(ctx))
	}
	stopped := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(stopped)
		d.stop(streamCtx, giveUp)
	})
	err = d.read(streamCtx, stream, giveUp)
	giveUp(nil)
	if !unwatch() {
		<-stopped
	}
	return d.explain(ctx, err)
}

// conversation is the state of one Drive.
type conversation struct {
	plan  Plan
	post  Post
	sink  Sink
	asked time.Time
	open  map[int]record.Connection // of the agent's latest word; see place
	shown time.Time                 // when the sink got them last
	skew  string                    // a sentence, if the agent's clock is off
	done  *Done
}

// sinkError marks what is not the agent's fault.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// explain turns what ended the stream into Drive's result.
func (d *conversation) explain(ctx context.Context, err error) error {
	if failed, ok := errors.AsType[sinkError](err); ok {
		return failed.error
	}
	if d.done != nil && err == nil {
		if d.done.Interrupted && ctx.Err() == nil {
			return fmt.Errorf("agent %s ended in the middle of the run: %w", d.plan.Agent, ErrInterrupted)
		}
		return nil
	}
	if rest := d.handOver(); rest != nil {
		return rest
	}
	return fmt.Errorf("agent %s ended in the middle of the run: %w", d.plan.Agent, err)
}

// place is where the row of an open connection is kept: by slot, so that a new connection takes the place of the one
// before even if nobody says what became of that; but a channel that balances has several at a time.
func (d *conversation) place(row record.Connection) int {
	if d.plan.GRPCPolicy == GRPCRoundRobin {
		return row.ID
	}
	return row.Slot
}

// mostOpen is how many connections of the plan can be open at a time: one per slot, or one per slot and address.
func (p *Plan) mostOpen() int {
	if p.GRPCPolicy == GRPCRoundRobin {
		return min(p.Connections*maxAddresses, maxConnections)
	}
	return p.Connections
}

// show gives the sink the connections that are open, now and then: whoever keeps them has them even if it is killed.
func (d *conversation) show() error {
	pause := openEvery * time.Duration(max(1, len(d.open)/openRows))
	if len(d.open) == 0 || !d.shown.IsZero() && time.Since(d.shown) < pause {
		return nil
	}
	d.shown = time.Now()
	if err := d.sink(Message{Open: d.openRows()}); err != nil {
		return sinkError{err}
	}
	return nil
}

// openRows are the rows of open connections, as the agent told them last.
func (d *conversation) openRows() []record.Connection {
	return slices.SortedFunc(maps.Values(d.open), func(a, b record.Connection) int { return cmp.Compare(a.ID, b.ID) })
}

// handOver gives the sink the connections that were open when the agent was lost.
func (d *conversation) handOver() error {
	for part := range batches(d.openRows(), connectionWeight) {
		if err := d.sink(Message{Connections: part}); err != nil {
			return err
		}
	}
	return nil
}

// stop tells the agent to end, and gives up on its stream if it does not.
func (d *conversation) stop(ctx context.Context, giveUp context.CancelCauseFunc) {
	late := time.AfterFunc(stopWithin, func() { giveUp(errNotEnded) })
	defer func() {
		<-ctx.Done()
		late.Stop()
	}()
	body, err := json.Marshal(StopRequest{Run: d.plan.Run, Stream: d.plan.Stream, Agent: d.plan.Agent})
	if err != nil {
		giveUp(err)
		return
	}
	answer, err := d.post(ctx, StopPath, bytes.NewReader(body))
	if err != nil {
		giveUp(err)
		return
	}
	_ = answer.Close()
}

// read reads the stream to Done, and sooner if ctx ends.
func (d *conversation) read(ctx context.Context, stream io.ReadCloser, giveUp context.CancelCauseFunc) error {
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	silence := time.AfterFunc(maxSilence, func() { giveUp(errSilent) })
	defer silence.Stop()
	messages := newMessageReader(stream, d.plan)
	for {
		silence.Reset(maxSilence)
		m, err := messages.next()
		silence.Stop() // a slow sink is not the agent's silence
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if err := d.take(m); err != nil {
			return err
		}
		if d.done != nil {
			return nil
		}
	}
}

// take passes a message on to the sink.
func (d *conversation) take(m Message) error {
	switch {
	case m.Error != "":
		return errors.New(m.Error)
	case m.Open != nil:
		for _, row := range m.Open {
			d.open[d.place(row)] = row
		}
		return d.show()
	case m.Ready != nil:
		d.skew = skew(d.plan.Agent, m.Ready.Now, d.asked, time.Now())
	case m.Done != nil:
		if d.skew != "" {
			m.Done.Problems = append(m.Done.Problems, d.skew)
		}
		d.done = m.Done
	}
	for _, row := range m.Connections {
		if at := d.place(row); d.open[at].ID == row.ID {
			delete(d.open, at)
		}
	}
	if err := d.sink(m); err != nil {
		return sinkError{err}
	}
	return nil
}

// skew compares an agent's clock, read at some time between asked and answered, with ours.
func skew(agent string, theirs, asked, answered time.Time) string {
	early, late := asked.Sub(theirs)-maxSkew, theirs.Sub(answered)-maxSkew
	switch {
	case early > 0:
		return fmt.Sprintf("%s: its clock is at least %.1f s behind ours, so are the times of its rows", agent, (early + maxSkew).Seconds())
	case late > 0:
		return fmt.Sprintf("%s: its clock is at least %.1f s ahead of ours, so are the times of its rows", agent, (late + maxSkew).Seconds())
	}
	return ""
}

// Probe has an agent try address (host:port, on the agent's list) until it answers, for at most two seconds or until ctx
// ends. It returns nil once any HTTP answer came.
func Probe(ctx context.Context, post Post, address string) error {
	within := probeWithin
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline))
	}
	body, err := json.Marshal(ProbeRequest{Address: address, Path: probePath, TimeoutMs: int(max(within.Milliseconds(), 1))})
	if err != nil {
		return fmt.Errorf("encoding the probe: %w", err)
	}
	answer, err := post(ctx, ProbePath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("probing %s: %w", address, err)
	}
	defer answer.Close()
	var result ProbeResult
	if err := decodeStrict(io.LimitReader(answer, maxRequestBody), &result); err != nil {
		return fmt.Errorf("probing %s: reading the result: %w", address, err)
	}
	if !result.OK {
		return fmt.Errorf("probing %s: %s after %d attempts: %s", address, result.Kind, result.Attempts, result.Detail)
	}
	return nil
}
