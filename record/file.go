package record

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Line is one line of a record's file (JSON lines, gzip): exactly one field is set.
// The first line is always Run; a file without End was cut. A connection may have several rows, of
// which the last one counts.
type Line struct {
	Run         *Run         `json:"run,omitempty"`
	Version     string       `json:"apiVersion,omitempty"` // beside Run only
	Facts       *Facts       `json:"facts,omitempty"`
	FactsAfter  *Facts       `json:"factsAfter,omitempty"`
	Stream      *Stream      `json:"stream,omitempty"`
	Connections []Connection `json:"connections,omitempty"`
	Tallies     []Tally      `json:"tallies,omitempty"`
	Samples     []Sample     `json:"samples,omitempty"`
	Columns     *Columns     `json:"columns,omitempty"` // samples, as Write writes them
	Event       *Event       `json:"event,omitempty"`
	Generator   *Generator   `json:"generator,omitempty"`
	Server      *Server      `json:"server,omitempty"`
	End         *End         `json:"end,omitempty"`
}

// chunk bounds how many rows share a line, so that a cut file loses little and a reader needs little. Of samples in columns
// it is more: they are small, and the first to be given up.
const chunk = 1000

// Writer writes a record line by line. It is safe for concurrent use. Errors stick: the first
// one is returned by every later call and by Close.
type Writer struct {
	mu    sync.Mutex
	gz    *gzip.Writer
	buf   []byte
	first []byte  // the Run line
	kept  *keeper // nil: nothing is kept
	err   error
}

// NewWriter starts a record on w with its Run line. w stays the caller's to close, after Close.
func NewWriter(w io.Writer, run Run) (*Writer, error) {
	// The fastest level: a load generator writes its record on the processor that makes the load.
	gz, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	rw := &Writer{gz: gz}
	return rw, rw.Write(Line{Run: &run, Version: Version})
}

// Write appends one line, split if it holds very many rows.
func (w *Writer) Write(l Line) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rows := range slices.Chunk(l.Connections, chunk) {
		w.note(func() error { return w.encodeConnections(rows) })
	}
	l.Connections = nil
	for len(l.Tallies) > chunk {
		w.note(func() error { return w.encodeLine(Line{Tallies: l.Tallies[:chunk]}) })
		l.Tallies = l.Tallies[chunk:]
	}
	w.encodeSamples(l.Samples)
	if l.Samples = nil; !l.empty() {
		w.note(func() error { return w.encodeLine(l) })
	}
	return w.err
}

// empty reports whether nothing is set.
func (l *Line) empty() bool {
	return l.Run == nil && l.Facts == nil && l.FactsAfter == nil && l.Stream == nil && l.Event == nil && l.Generator == nil && l.Server == nil &&
		l.End == nil && l.Columns == nil && len(l.Connections) == 0 && len(l.Tallies) == 0
}

// encodeSamples writes samples in columns, those one by one that do not fit.
func (w *Writer) encodeSamples(samples []Sample) {
	for len(samples) > 0 && w.err == nil {
		c, n := columnsOf(samples)
		if n == 0 {
			w.note(func() error { return w.encodeLine(Line{Samples: samples[:1]}) })
			samples = samples[1:]
			continue
		}
		samples = samples[n:]
		w.note(func() error { return w.encodeColumns(c) })
	}
}

func (w *Writer) encodeColumns(c *Columns) (err error) {
	if w.buf, err = c.appendTo(w.buf[:0]); err != nil {
		return err
	}
	if w.kept != nil {
		if err := w.kept.columns(c); err != nil {
			return err
		}
	}
	_, err = w.gz.Write(w.buf)
	return err
}

// note does the next step, if none before it failed.
func (w *Writer) note(step func() error) {
	if w.err != nil {
		return
	}
	if err := step(); err != nil {
		w.err = fmt.Errorf("writing the record: %w", err)
	}
}

// Flush makes everything written so far readable even if the process dies now.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.gz.Flush(); err != nil {
		w.err = fmt.Errorf("writing the record: %w", err)
	}
	return w.err
}

// Close ends the file. Further writes fail.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.gz.Close(); err != nil {
		w.err = fmt.Errorf("writing the record: %w", err)
		return w.err
	}
	w.err = errors.New("the record is closed")
	return nil
}

// Write writes the whole record to w in one go.
func Write(w io.Writer, rec *Record) error {
	rw, err := NewWriter(w, rec.Run)
	if err != nil {
		return err
	}
	lines := []Line{{Facts: &rec.Facts}}
	for i := range rec.Streams {
		lines = append(lines, Line{Stream: &rec.Streams[i]})
	}
	for i := range rec.Events {
		lines = append(lines, Line{Event: &rec.Events[i]})
	}
	lines = append(lines, Line{Connections: rec.Connections}, Line{Tallies: rec.Tallies}, Line{Samples: rec.Samples})
	for i := range rec.Generators {
		lines = append(lines, Line{Generator: &rec.Generators[i]})
	}
	for i := range rec.Servers {
		lines = append(lines, Line{Server: &rec.Servers[i]})
	}
	if rec.FactsAfter != nil {
		lines = append(lines, Line{FactsAfter: rec.FactsAfter})
	}
	if rec.End != nil {
		lines = append(lines, Line{End: rec.End})
	}
	for _, l := range lines {
		if err := rw.Write(l); err != nil {
			return err
		}
	}
	return rw.Close()
}
