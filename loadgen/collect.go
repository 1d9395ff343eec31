package loadgen

import (
	"fmt"
	"math"
	"time"

	"github.com/podskew/podskew/record"
)

const (
	// reportEvery is how often progress and the rows of finished connections go to the sink.
	reportEvery = 250 * time.Millisecond
	// talliesEvery is how often tallies and open connections do, in reports.
	talliesEvery = 4
	// maxMessage is how large the rows of one message get, estimated in bytes of JSON.
	maxMessage = 256 << 10
	// maxMessageRows is how many they are.
	maxMessageRows = 1000
	// rowsPassed is how many rows that come together are passed on without being copied.
	rowsPassed = 100
	// maxOpenRows is how many open connections are reported at a time. With more of them, every one has its turn.
	maxOpenRows = 1000
)

// collector hands what the slots measure to the sink, one message after the other.
type collector struct {
	run     *run
	sink    Sink
	pending []record.Connection
	weight  int
}

// collect works until all slots are done, or the sink fails.
func (c *collector) collect() error {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for ticks, warmed := 1, c.run.plan.WarmUp == 0; ; {
		select {
		case rows, ok := <-c.run.rows:
			if !ok {
				return c.flush()
			}
			if err := c.take(rows); err != nil {
				return err
			}
			c.run.pending.Add(-int64(len(rows)))
		case <-ticker.C:
			if !warmed && !warm(c.run.now()) {
				warmed = true
				c.run.meter.begin()
			}
			if err := c.report(ticks%talliesEvery == 0); err != nil {
				return err
			}
			ticks++
		}
	}
}

// take takes finished rows. Many of them are a message of their own, as they are.
func (c *collector) take(rows []record.Connection) error {
	if len(rows) >= rowsPassed && len(rows) <= maxMessageRows && weightOf(rows) <= maxMessage {
		if err := c.flush(); err != nil {
			return err
		}
		return c.sink(Message{Connections: rows})
	}
	for _, row := range rows {
		if err := c.add(row); err != nil {
			return err
		}
	}
	return nil
}

func weightOf(rows []record.Connection) int {
	sum := 0
	for i := range rows {
		sum += connectionWeight(rows[i])
	}
	return sum
}

func (c *collector) add(row record.Connection) error {
	c.pending = append(c.pending, row)
	c.weight += connectionWeight(row)
	if c.weight < maxMessage && len(c.pending) < maxMessageRows {
		return nil
	}
	return c.flush()
}

// flush sends the pending rows.
func (c *collector) flush() error {
	if len(c.pending) == 0 {
		return nil
	}
	rows := c.pending
	c.pending, c.weight = nil, 0
	return c.sink(Message{Connections: rows})
}

// report sends what there is: rows and progress, and with full also tallies and open connections.
func (c *collector) report(full bool) error {
	if err := c.flush(); err != nil {
		return err
	}
	if full {
		// A request that was sent in the second that is just over may still be answered; its tally comes later then.
		if err := c.sendTallies(int(c.run.now() / time.Second)); err != nil {
			return err
		}
		if err := c.sendOpen(); err != nil {
			return err
		}
	}
	return c.sink(Message{Progress: c.run.progress()})
}

func (c *collector) sendTallies(before int) error {
	for rows := range batches(c.run.tallies(before), tallyWeight) {
		if err := c.sink(Message{Tallies: rows}); err != nil {
			return err
		}
	}
	return nil
}

// sendOpen reports connections in use, so that a receiver that loses us knows what they were.
func (c *collector) sendOpen() error {
	if !c.run.world.open || c.run.now() < reportEvery { // what ends in the warm-up has no row
		return nil
	}
	for rows := range batches(c.run.driver.snapshots(maxOpenRows), connectionWeight) {
		if err := c.sink(Message{Open: rows}); err != nil {
			return err
		}
	}
	return nil
}

// finish sends the rest when all slots are done. late is how long after its start the plan came.
func (c *collector) finish(late time.Duration) error {
	r := c.run
	done := Done{Seconds: r.now().Seconds(), Interrupted: r.stopped.Load() && !r.ended.Load(), Problems: r.problems(late), Generator: r.generator()}
	if err := c.sendTallies(math.MaxInt); err != nil {
		return err
	}
	samples, stride := r.samples.take()
	done.SampleStride = stride
	for rows := range batches(samples, func(record.Sample) int { return sampleWeight }) {
		if err := c.sink(Message{Samples: rows}); err != nil {
			return err
		}
	}
	if err := c.sink(Message{Progress: r.progress()}); err != nil {
		return err
	}
	return c.sink(Message{Done: &done})
}

func (r *run) progress() *Progress {
	p := &Progress{Seconds: r.now().Seconds(), Connections: int(r.opened.Load() - r.passed.Load()), Open: int(r.open.Load())}
	for _, s := range r.allShards() {
		s.mu.Lock()
		p.Requests += s.requests
		p.Errors += s.errors
		s.mu.Unlock()
	}
	return p
}

// problems says what the generator had to give up: things that look like the Service's doing and are not.
func (r *run) problems(late time.Duration) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, r.plan.Agent+": "+fmt.Sprintf(format, args...)) }
	if late > lateStart {
		say("the plan came %.1f s after its start, or the clocks differ: the load began late", late.Seconds())
	}
	if n := r.ownFaults.Load(); n > 0 {
		say("%d connections could not be opened for want of local ports, file descriptors or memory: a limit of the client, not of the Service", n)
	}
	if held := time.Duration(r.heldBack.Load()); held > 0 {
		say("connections waited %.1f s in all because results were not taken as fast as they came: the load was lower than it could be", held.Seconds())
	}
	if held := r.pacer.heldBack(); held > 0 {
		say("the load was held to %g requests per second: requests waited %.1f s in all for their turn", r.plan.MaxRate, held.Seconds())
	}
	if n := r.unattributed.Load(); n > 0 {
		say("%d answers did not say which pod they are of: something else than an echo pod answered, or a hop removes headers", n)
	}
	if n := r.droppedOthers.Load(); n > 0 {
		say("%d answers are missing from the rows of their connections, each of which more than %d pods answered on", n, maxOthers)
	}
	if c := r.tuples.conntrack(); c != nil && c.Full {
		say("the machine's connection-tracking table was full, %d of %d entries: its kernel dropped new connections, whatever the Service did", c.Peak, c.Max)
	}
	if n := r.tuples.held.Load(); n > 0 {
		say("%d connections were opened later than planned, or not at all, so that the machine's connection-tracking table would not be filled", n)
	}
	if n := r.droppedRows.Load(); n > 0 {
		say("%d connections have no rows, since only the first %d have: the tallies count them all", n, r.world.rowCap)
	}
	return out
}
