package record

import (
	"encoding/json"
	"math"
	"strconv"
)

// Columns are samples of one stream and agent as a file holds them: column by column, which takes a fifth of the room and a
// tenth of the time of one object for each. Times are whole nanoseconds. Only encoding and decoding deal with it.
type Columns struct {
	Stream      string              `json:"s"`
	Agent       string              `json:"a"`
	Connections []int64             `json:"c"`           // each as its difference from the one before, the first from 0
	Sent        []int64             `json:"t"`           // likewise
	Latency     []int64             `json:"l"`           // as it is
	Late        []int64             `json:"d,omitempty"` // as it is; left out if all are 0
	Errors      map[ErrorKind][]int `json:"e,omitempty"` // positions of the samples that failed in that way
}

// Bounds of one line of columns.
const (
	columnChunk = 4_000
	maxColumn   = 100_000
	maxNanos    = 1 << 53 // 104 days: as far as a float64 holds whole nanoseconds
)

// columnable reports whether a sample survives as columns.
func (s *Sample) columnable() bool {
	fits := func(x float64) bool { return math.Abs(x) < maxNanos*1e-9 } // false for what is no number
	return s.Connection >= math.MinInt32 && s.Connection <= math.MaxUint32 && fits(s.Sent) && fits(s.Late) && fits(s.Latency)
}

func nanos(seconds float64) int64 { return int64(math.Round(seconds * 1e9)) }

// columnsOf turns the longest beginning of samples that fits into columns, and says how long it is; 0 if not even the first does.
func columnsOf(samples []Sample) (*Columns, int) {
	n := 0
	for n < len(samples) && n < columnChunk && samples[n].Stream == samples[0].Stream && samples[n].Agent == samples[0].Agent && samples[n].columnable() {
		n++
	}
	if n == 0 {
		return nil, 0
	}
	c := &Columns{
		Stream: samples[0].Stream, Agent: samples[0].Agent, Connections: make([]int64, n), Sent: make([]int64, n), Latency: make([]int64, n),
	}
	var id, sent int64
	for i, s := range samples[:n] {
		c.Connections[i], id = int64(s.Connection)-id, int64(s.Connection)
		c.Sent[i], sent = nanos(s.Sent)-sent, nanos(s.Sent)
		c.Latency[i] = nanos(s.Latency)
		if s.Late != 0 {
			if c.Late == nil {
				c.Late = make([]int64, n)
			}
			c.Late[i] = nanos(s.Late)
		}
		if s.Error != "" {
			if c.Errors == nil {
				c.Errors = map[ErrorKind][]int{}
			}
			c.Errors[s.Error] = append(c.Errors[s.Error], i)
		}
	}
	return c, n
}

// appendTo writes the columns as the line of a file, as encoding/json would.
func (c *Columns) appendTo(b []byte) ([]byte, error) {
	stream, err := json.Marshal(c.Stream)
	if err != nil {
		return b, err
	}
	agent, err := json.Marshal(c.Agent)
	if err != nil {
		return b, err
	}
	b = append(append(append(append(b, `{"columns":{"s":`...), stream...), `,"a":`...), agent...)
	b = appendColumn(b, `,"c":[`, c.Connections)
	b = appendColumn(b, `,"t":[`, c.Sent)
	b = appendColumn(b, `,"l":[`, c.Latency)
	if len(c.Late) > 0 {
		b = appendColumn(b, `,"d":[`, c.Late)
	}
	if len(c.Errors) > 0 {
		failed, err := json.Marshal(c.Errors)
		if err != nil {
			return b, err
		}
		b = append(append(b, `,"e":`...), failed...)
	}
	return append(b, "}}\n"...), nil
}

func appendColumn(b []byte, head string, column []int64) []byte {
	b = append(b, head...)
	for i, v := range column {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, v, 10)
	}
	return append(b, ']')
}

// check reports what is wrong with columns that were read; "" if nothing.
func (c *Columns) check() string {
	n := len(c.Latency)
	switch {
	case n > maxColumn:
		return "more samples than a line may hold"
	case len(c.Connections) != n || len(c.Sent) != n || (len(c.Late) != 0 && len(c.Late) != n):
		return "the columns of samples are not equally long"
	}
	for _, positions := range c.Errors {
		for _, at := range positions {
			if at < 0 || at >= n {
				return "a failed sample that is not there"
			}
		}
	}
	var id, sent int64
	for i := range n {
		if outside(c.Connections[i]) || outside(c.Sent[i]) || outside(c.Latency[i]) {
			return "a number out of range among the samples"
		}
		id += c.Connections[i]
		sent += c.Sent[i]
		if id < math.MinInt32 || id > math.MaxUint32 || outside(sent) || (len(c.Late) != 0 && outside(c.Late[i])) {
			return "a number out of range among the samples"
		}
	}
	return ""
}

// outside is generous by a factor of two, so that differences fit too.
func outside(ns int64) bool { return ns > 2*maxNanos || ns < -2*maxNanos }

// appendSamples takes the columns apart into samples.
func (c *Columns) appendSamples(to []Sample) []Sample {
	from := len(to)
	var id, sent int64
	for i := range c.Latency {
		id += c.Connections[i]
		sent += c.Sent[i]
		s := Sample{Stream: c.Stream, Agent: c.Agent, Connection: int(id), Sent: seconds(sent), Latency: seconds(c.Latency[i])}
		if len(c.Late) > 0 {
			s.Late = seconds(c.Late[i])
		}
		to = append(to, s)
	}
	for kind, positions := range c.Errors {
		for _, at := range positions {
			to[from+at].Error = kind
		}
	}
	return to
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// latencies keeps what analysis needs of the answered ones.
func (c *Columns) latencies() Latencies {
	skip := make(map[int]bool)
	for kind, positions := range c.Errors {
		for _, at := range positions {
			if kind != ErrStatus {
				skip[at] = true
			}
		}
	}
	n := len(c.Latency) - len(skip)
	l := Latencies{Stream: c.Stream, Agent: c.Agent, Connections: make([]uint32, 0, n), Buckets: make([]uint16, 0, n)}
	var id int64
	for i, ns := range c.Latency {
		id += c.Connections[i]
		if id < 0 || (len(skip) > 0 && skip[i]) {
			continue
		}
		l.Connections = append(l.Connections, uint32(id))                     // #nosec G115 -- checked
		l.Buckets = append(l.Buckets, uint16(BucketIndex(min(ns, maxNanos)))) // #nosec G115 -- below 7,296
	}
	return l
}

// latenciesOf is the same of samples that stand one by one.
func latenciesOf(samples []Sample) []Latencies {
	var out []Latencies
	for _, s := range samples {
		if (s.Error != "" && s.Error != ErrStatus) || s.Connection < 0 || s.Connection > math.MaxUint32 {
			continue
		}
		last := len(out) - 1
		if last < 0 || out[last].Stream != s.Stream || out[last].Agent != s.Agent {
			out = append(out, Latencies{Stream: s.Stream, Agent: s.Agent})
			last++
		}
		out[last].Connections = append(out[last].Connections, uint32(s.Connection)) // #nosec G115 -- checked
		out[last].Buckets = append(out[last].Buckets, LatencyBucket(s.Latency))
	}
	return out
}
