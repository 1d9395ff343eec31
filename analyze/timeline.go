package analyze

import (
	"cmp"
	"math"
	"slices"

	"github.com/podskew/podskew/record"
)

// Timeline is a stream over time, in windows of equal width. All lists have one entry per window.
type Timeline struct {
	Start       int                        `json:"start"`       // of the first window, seconds since the start of the run
	Width       int                        `json:"width"`       // of a window in seconds, at least 1
	Windows     int                        `json:"windows"`     // at most 300
	Backends    []TimelineBackend          `json:"backends"`    // by requests, then name
	Errors      map[record.ErrorKind][]int `json:"errors"`      // requests and dials that failed; only kinds there were
	MaxOverMean []float64                  `json:"maxOverMean"` // of the answered requests over all pods of the stream; 0 without any
	P99         []float64                  `json:"p99"`         // seconds; the maximum below 100 answers, 0 without any
}

// TimelineBackend is one pod's part of a timeline.
type TimelineBackend struct {
	Pod         string `json:"pod"`         // "": all pods beyond the busiest 40, together
	Requests    []int  `json:"requests"`    // answered, by the second in which they were sent
	Connections []int  `json:"connections"` // opened, whose first answer this pod gave
}

// Bounds of a timeline, so that a run of any length and size fits a report.
const (
	maxWindows      = 300
	maxTimelineRows = 40
	latestSecond    = 1 << 40 // a second beyond is no time of a run
)

// history is what became of one stream's requests, by the second they were sent in.
type history struct {
	first, last int // seconds; last < first: nothing was sent
	sent        map[int]int
	errors      map[int]map[record.ErrorKind]int
	byTally     bool // connections are counted in the tallies, for want of rows

	lines    *Timeline
	position map[string]int // of each pod among the columns
	requests [][]int        // by column and window
	opened   [][]int
	latency  [][]uint64 // by window and histogram bucket
}

// addHistories fills in the timelines of all streams, in two passes over the tallies however many streams there are.
func addHistories(rec *record.Record, subjects []*subject) {
	byID := map[string]*subject{}
	for _, s := range subjects {
		s.past = &history{first: math.MaxInt, last: math.MinInt, sent: map[int]int{}, errors: map[int]map[record.ErrorKind]int{}}
		byID[s.plan.ID] = s
	}
	for i := range rec.Tallies {
		byID[rec.Tallies[i].Stream].past.span(&rec.Tallies[i])
	}
	for _, s := range subjects {
		for _, c := range s.rows {
			s.past.reach(s.openedIn(c))
		}
		s.past.prepare(s.traffic)
	}
	for i := range rec.Tallies {
		byID[rec.Tallies[i].Stream].past.add(&rec.Tallies[i])
	}
	for _, s := range subjects {
		s.past.addRows(s)
		s.report.Timeline = s.past.finish(len(s.backends))
	}
}

func (h *history) reach(second int) {
	if second < -latestSecond || second > latestSecond {
		return
	}
	h.first, h.last = min(h.first, second), max(h.last, second)
}

func (h *history) span(t *record.Tally) {
	h.reach(t.Second)
	h.byTally = h.byTally || t.Connections > 0
}

// prepare chooses the windows and gives every pod a column.
func (h *history) prepare(t *traffic) {
	h.lines = &Timeline{Errors: map[record.ErrorKind][]int{}, Width: 1}
	if h.last < h.first {
		return
	}
	h.lines.Start = h.first
	h.lines.Width = windowWidth(h.last - h.first + 1)
	h.lines.Windows = (h.last-h.first)/h.lines.Width + 1
	h.position = map[string]int{}
	for _, b := range slices.Concat(t.backends, t.foreign) {
		h.position[b.pod] = len(h.position)
	}
	h.requests, h.opened = table[int](len(h.position), h.lines.Windows), table[int](len(h.position), h.lines.Windows)
	h.latency = make([][]uint64, h.lines.Windows)
}

// windowWidth returns the smallest round number of seconds of which a timeline holds span.
func windowWidth(span int) int {
	for unit := 1; ; unit *= 10 {
		for _, step := range []int{1, 2, 5} {
			if width := unit * step; (span+width-1)/width <= maxWindows {
				return width
			}
		}
	}
}

// window returns which window a second is in, -1 if in none.
func (h *history) window(second int) int {
	if second < h.first || second > h.last {
		return -1
	}
	return (second - h.first) / h.lines.Width
}

func (h *history) add(t *record.Tally) {
	w := h.window(t.Second)
	if w < 0 {
		return
	}
	h.sent[t.Second] += t.Requests
	unanswered := 0
	for kind, n := range t.Errors {
		if h.errors[t.Second] == nil {
			h.errors[t.Second] = map[record.ErrorKind]int{}
		}
		h.errors[t.Second][kind] += n
		if h.lines.Errors[kind] == nil {
			h.lines.Errors[kind] = make([]int, h.lines.Windows)
		}
		h.lines.Errors[kind][w] += n
		if kind != record.ErrStatus {
			unanswered += n
		}
	}
	at, known := h.position[t.Backend]
	if !known {
		return
	}
	h.requests[at][w] += t.Requests - unanswered
	h.opened[at][w] += t.Connections
	h.addLatency(w, t.Latency)
}

// mostBuckets is one more than the index of the bucket of the longest duration.
const mostBuckets = 7296

func (h *history) addLatency(w int, latency record.Histogram) {
	for _, b := range latency.Buckets {
		at := int(b.Index)
		if at >= mostBuckets {
			continue
		}
		if grow := at + 1 - len(h.latency[w]); grow > 0 {
			h.latency[w] = append(h.latency[w], make([]uint64, grow)...)
		}
		h.latency[w][at] += b.Count
	}
}

// openedIn is the second that a connection was opened in. Those of a warm-up were there in the first one.
func (t *traffic) openedIn(c *record.Connection) int {
	second := int(math.Floor(c.Opened))
	if t.plan.WarmUp > 0 {
		return max(second, 0)
	}
	return second
}

// addRows counts connections from their rows, unless the tallies hold them.
func (h *history) addRows(s *subject) {
	if h.byTally {
		return
	}
	for _, c := range s.rows {
		w := h.window(s.openedIn(c))
		if at, known := h.position[c.Backend]; known && w >= 0 {
			h.opened[at][w]++
		}
	}
}

// finish turns columns into the timeline of a report.
func (h *history) finish(reference int) *Timeline {
	lines := h.lines
	if lines.Windows == 0 {
		return nil
	}
	lines.MaxOverMean, lines.P99 = make([]float64, lines.Windows), make([]float64, lines.Windows)
	for w := range lines.Windows {
		lines.MaxOverMean[w] = h.maxOverMean(w, reference)
		lines.P99[w] = tailOf(sparse(h.latency[w]))
	}
	type column struct {
		pod   string
		at    int
		total int
	}
	var columns []column
	for pod, at := range h.position {
		c := column{pod: pod, at: at}
		for _, n := range h.requests[at] {
			c.total += n
		}
		columns = append(columns, c)
	}
	slices.SortFunc(columns, func(a, b column) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.pod, b.pod)) })
	for i, c := range columns {
		if i < maxTimelineRows {
			lines.Backends = append(lines.Backends, TimelineBackend{Pod: c.pod, Requests: h.requests[c.at], Connections: h.opened[c.at]})
			continue
		}
		if i == maxTimelineRows {
			lines.Backends = append(lines.Backends, TimelineBackend{Requests: make([]int, lines.Windows), Connections: make([]int, lines.Windows)})
		}
		rest := &lines.Backends[maxTimelineRows]
		for w := range lines.Windows {
			rest.Requests[w] += h.requests[c.at][w]
			rest.Connections[w] += h.opened[c.at][w]
		}
	}
	return lines
}

// maxOverMean is that of one window over the first columns, which are the reference set.
func (h *history) maxOverMean(w, reference int) float64 {
	most, sum := 0, 0
	for _, column := range h.requests[:reference] {
		most = max(most, column[w])
		sum += column[w]
	}
	if sum == 0 {
		return 0
	}
	return float64(most) * float64(reference) / float64(sum)
}

func sparse(counts []uint64) record.Histogram {
	var h record.Histogram
	for i, n := range counts {
		if n > 0 {
			h.Buckets = append(h.Buckets, record.Bucket{Index: uint32(i), Count: n}) // #nosec G115 -- below mostBuckets
		}
	}
	return h
}

// around counts what was sent and what failed in the whole seconds from and to, to not included.
func (h *history) around(from, to int) (sent int, failed map[record.ErrorKind]int) {
	failed = map[record.ErrorKind]int{}
	for second := max(from, h.first); second < min(to, h.last+1); second++ {
		sent += h.sent[second]
		for kind, n := range h.errors[second] {
			failed[kind] += n
		}
	}
	return sent, failed
}
