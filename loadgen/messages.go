package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/podskew/podskew/record"
)

// Bounds of what one agent may send. The caller keeps none of it in memory but open connections, one per slot; they
// bound a record that goes to disk.
const (
	maxLine     = 2 << 20
	maxMessages = 50_000_000
	maxRows     = 1 << 30 // connections, and likewise tallies
	maxText     = 4 << 10
	maxProblems = 1000
)

// messageReader reads an agent's stream and checks that it is one: bounded lines, the order of messages, and rows that
// are of the plan and make sense by themselves. What it returns can be written to a record as it is.
type messageReader struct {
	in   *bufio.Reader
	plan Plan

	addresses                           map[string]bool
	line                                []byte
	messages                            int
	connections, open, tallies, samples int
}

func newMessageReader(r io.Reader, plan Plan) *messageReader {
	m := &messageReader{in: bufio.NewReaderSize(r, 64<<10), plan: plan, addresses: map[string]bool{}}
	for _, a := range plan.Addresses {
		m.addresses[a.HostPort] = true
	}
	return m
}

// next returns the next message. A stream that ends, even in the middle of a line, is errEnded.
func (m *messageReader) next() (Message, error) {
	line, err := m.readLine()
	if err != nil {
		return Message{}, err
	}
	m.messages++
	msg, err := m.parse(line)
	if err != nil {
		return Message{}, fmt.Errorf("line %d of its results: %w", m.messages, err)
	}
	return msg, nil
}

func (m *messageReader) readLine() ([]byte, error) {
	m.line = m.line[:0]
	for {
		part, err := m.in.ReadSlice('\n')
		m.line = append(m.line, part...)
		switch {
		case len(m.line) > maxLine:
			return nil, fmt.Errorf("line %d of its results is longer than %d bytes", m.messages+1, maxLine)
		case err == nil:
			return m.line, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errEnded
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%w: %w", errEnded, err)
		}
	}
}

func (m *messageReader) parse(line []byte) (Message, error) {
	var msg Message
	if err := decodeStrict(bytes.NewReader(line), &msg); err != nil {
		return msg, err
	}
	if n := fields(msg); n != 1 {
		return msg, fmt.Errorf("it has %d fields: want one", n)
	}
	if m.messages > maxMessages {
		return msg, fmt.Errorf("more than %d messages", maxMessages)
	}
	if msg.Error == "" && (m.messages == 1) != (msg.Ready != nil) {
		return msg, errors.New("ready must come first and once")
	}
	return msg, m.check(msg)
}

func fields(msg Message) int {
	n := 0
	for _, set := range []bool{
		msg.Ready != nil, msg.Progress != nil, msg.Connections != nil, msg.Open != nil,
		msg.Tallies != nil, msg.Samples != nil, msg.Done != nil, msg.Error != "",
	} {
		if set {
			n++
		}
	}
	return n
}

func (m *messageReader) check(msg Message) error {
	switch {
	case msg.Ready != nil:
		return checkReady(msg.Ready)
	case msg.Progress != nil:
		p := msg.Progress
		if !anyTime(p.Seconds) || p.Requests < 0 || p.Errors < 0 || p.Errors > p.Requests || p.Connections < 0 || p.Open < 0 || p.Open > p.Connections {
			return errors.New("progress: numbers out of range")
		}
	case msg.Connections != nil:
		return checkRows(msg.Connections, &m.connections, maxRows, m.checkConnection)
	case msg.Open != nil:
		m.open = 0 // they are kept one per slot, so that repeating them costs nothing
		return checkRows(msg.Open, &m.open, m.plan.mostOpen(), m.checkConnection)
	case msg.Tallies != nil:
		return checkRows(msg.Tallies, &m.tallies, maxRows, m.checkTally)
	case msg.Samples != nil:
		return checkRows(msg.Samples, &m.samples, m.plan.sampleCap(), m.checkSample)
	case msg.Done != nil:
		return m.checkDone(msg.Done)
	case len(msg.Error) > maxText:
		return errors.New("error: too long")
	}
	return nil
}

func checkRows[T any](rows []T, sum *int, limit int, check func(T) error) error {
	if *sum += len(rows); *sum > limit {
		return fmt.Errorf("more than %d rows", limit)
	}
	for i, row := range rows {
		if err := check(row); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
	}
	return nil
}

func checkReady(r *Ready) error {
	if r.Now.IsZero() || len(r.IPs) > maxIPs {
		return errors.New("ready: out of range")
	}
	for _, ip := range r.IPs {
		if err := checkName(ip); err != nil {
			return fmt.Errorf("ready: ip: %w", err)
		}
	}
	return nil
}

func (m *messageReader) checkDone(d *Done) error {
	if !anyTime(d.Seconds) || len(d.Problems) > maxProblems || d.SampleStride < 0 {
		return errors.New("done: out of range")
	}
	for _, p := range d.Problems {
		if len(p) > maxText {
			return errors.New("done: a problem is too long")
		}
	}
	if d.Generator == nil {
		return nil
	}
	if err := m.checkGenerator(d.Generator); err != nil {
		return fmt.Errorf("done: generator: %w", err)
	}
	return nil
}

func (m *messageReader) checkGenerator(g *record.Generator) error {
	if g.Stream != m.plan.Stream || g.Agent != m.plan.Agent {
		return fmt.Errorf("it is of stream %q, agent %q, which is not in the plan", g.Stream, g.Agent)
	}
	for _, f := range []float64{g.Seconds, g.CPUSeconds, g.CPULimit, g.ClockCost, g.HeldBack} {
		if f < 0 || f > maxSeconds*maxConnections || math.IsNaN(f) {
			return errors.New("numbers out of range")
		}
	}
	counts := []int{g.Intended, g.Dropped, g.LocalPorts, g.OutOfPorts, g.ReusedPorts, g.DroppedRows, g.MaximumBatch}
	if c := g.Conntrack; c != nil {
		counts = append(counts, c.Max, c.Before, c.Peak, c.HeldBack)
	}
	if w := g.WarmUp; w != nil {
		counts = append(counts, w.Connections, w.Unanswered)
		for pod, n := range w.Answered {
			if counts = append(counts, n); checkName(pod) != nil {
				return errors.New("warmUp: names out of range")
			}
		}
	}
	if slices.Min(counts) < 0 || g.Dropped > g.Intended || !(g.Busy >= 0 && g.Busy <= 1) || !optionalName(g.Driver) {
		return errors.New("numbers out of range")
	}
	_, err := checkHistogram(g.Lateness)
	return err
}

func (m *messageReader) checkOwner(streamID, agent, address string) error {
	if streamID != m.plan.Stream || agent != m.plan.Agent || !m.addresses[address] {
		return fmt.Errorf("it is of stream %q, agent %q, address %q, which is not in the plan", streamID, agent, address)
	}
	return nil
}

func (m *messageReader) checkConnection(c record.Connection) error {
	if err := m.checkOwner(c.Stream, c.Agent, c.Address); err != nil {
		return err
	}
	switch {
	case c.ID < 1 || c.Slot < 0 || c.Slot >= m.plan.Connections || c.Requests < 0 || c.WarmUp < 0:
		return errors.New("numbers out of range")
	case !anyTime(c.Opened) || !anyTime(c.Connected) || !anyTime(c.Closed):
		return errors.New("times out of range")
	case c.Closed != 0 && c.Closed < c.Opened || c.Connected != 0 && c.Connected < c.Opened:
		return errors.New("it ended before it began")
	case !optionalName(c.Dialled) || !optionalName(c.Local) || !optionalName(c.Backend) || !optionalName(c.Observed):
		return errors.New("names out of range")
	case c.Error != "" && !knownKind(c.Error) || len(c.ErrorDetail) > maxDetail:
		return errors.New("the error is not one of the known")
	case len(c.Others) > maxOthers:
		return errors.New("too many other backends")
	}
	for pod, n := range c.Others {
		if checkName(pod) != nil || n < 1 {
			return errors.New("other backends out of range")
		}
	}
	return nil
}

func (m *messageReader) checkTally(t record.Tally) error {
	if err := m.checkOwner(t.Stream, t.Agent, t.Address); err != nil {
		return err
	}
	if t.Second < 0 || t.Second > maxSeconds || t.Requests < 0 || t.Connections < 0 || t.Requests+t.Connections == 0 || t.Requests > maxRequests || t.Connections > maxRequests || !optionalName(t.Backend) || !optionalName(t.Observed) {
		return errors.New("out of range")
	}
	failed := 0
	for kind, n := range t.Errors {
		if !knownKind(kind) || n < 1 || n > t.Requests {
			return errors.New("errors out of range")
		}
		failed += n
	}
	answered, err := checkHistogram(t.Latency)
	if err != nil {
		return err
	}
	if failed > t.Requests || answered > t.Requests {
		return errors.New("more errors or answers than requests")
	}
	return nil
}

func checkHistogram(h record.Histogram) (count int, err error) {
	last := record.BucketIndex(math.MaxInt64)
	for i, b := range h.Buckets {
		if i > 0 && b.Index <= h.Buckets[i-1].Index || b.Index > last || b.Count < 1 || b.Count > maxRequests {
			return 0, errors.New("latency: buckets out of order or range")
		}
		count += int(b.Count)
	}
	if h.Sum < 0 || math.IsInf(h.Sum, 0) {
		return 0, errors.New("latency: sum out of range")
	}
	return count, nil
}

func (m *messageReader) checkSample(s record.Sample) error {
	switch {
	case s.Stream != m.plan.Stream || s.Agent != m.plan.Agent:
		return fmt.Errorf("it is of stream %q, agent %q, which is not in the plan", s.Stream, s.Agent)
	case s.Connection < 1 || !anyTime(s.Sent) || s.Latency < 0 || !anyTime(s.Latency) || s.Late < 0 || !anyTime(s.Late):
		return errors.New("numbers out of range")
	case s.Error != "" && !knownKind(s.Error):
		return errors.New("the error is not one of the known")
	}
	return nil
}

func optionalName(s string) bool { return s == "" || checkName(s) == nil }

// maxSeconds is far beyond the length of any run.
const maxSeconds = 10 * 365 * 24 * 3600

// anyTime reports whether s may be an instant, in seconds since the start; some lie before it.
func anyTime(s float64) bool { return math.Abs(s) <= maxSeconds }
