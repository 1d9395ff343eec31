package record

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Event       *Event       `json:"event,omitempty"`
	Generator   *Generator   `json:"generator,omitempty"`
	Server      *Server      `json:"server,omitempty"`
	End         *End         `json:"end,omitempty"`
}

// chunk bounds how many rows share a line, so that a cut file loses little and a reader needs little.
const chunk = 1000

// Writer writes a record line by line. It is safe for concurrent use. Errors stick: the first
// one is returned by every later call and by Close.
type Writer struct {
	mu  sync.Mutex
	gz  *gzip.Writer
	enc *json.Encoder
	err error
}

// NewWriter starts a record on w with its Run line. w stays the caller's to close, after Close.
func NewWriter(w io.Writer, run Run) (*Writer, error) {
	gz := gzip.NewWriter(w)
	rw := &Writer{gz: gz, enc: json.NewEncoder(gz)}
	rw.enc.SetEscapeHTML(false)
	return rw, rw.Write(Line{Run: &run, Version: Version})
}

// Write appends one line, split if it holds very many rows.
func (w *Writer) Write(l Line) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(l.Connections) > chunk {
		w.encode(Line{Connections: l.Connections[:chunk]})
		l.Connections = l.Connections[chunk:]
	}
	for len(l.Tallies) > chunk {
		w.encode(Line{Tallies: l.Tallies[:chunk]})
		l.Tallies = l.Tallies[chunk:]
	}
	for len(l.Samples) > chunk {
		w.encode(Line{Samples: l.Samples[:chunk]})
		l.Samples = l.Samples[chunk:]
	}
	w.encode(l)
	return w.err
}

func (w *Writer) encode(l Line) {
	if w.err != nil {
		return
	}
	if err := w.enc.Encode(l); err != nil {
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

// Bounds of what Read accepts, so that a broken or hostile file ends in an error and not in swap.
const (
	maxLine  = 64 << 20
	maxTotal = 8 << 30
)

// Read reads a record, gzip or plain. A file that was cut (kill -9, a full disk) gives everything up
// to its last whole line, with Record.End nil and cut true. Anything else that is wrong is an error
// that names the line.
func Read(r io.Reader) (rec *Record, cut bool, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	var in io.Reader = br
	if magic, _ := br.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		gz, err := gzip.NewReader(br)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, false, errors.New("reading the record: it ends inside its gzip header: nothing was recorded")
		}
		if err != nil {
			return nil, false, fmt.Errorf("reading the record: %w", err)
		}
		gz.Multistream(false)
		in = gz
	}
	rec = &Record{}
	err = rec.readLines(bufio.NewReaderSize(io.LimitReader(in, maxTotal), 256<<10))
	if err != nil {
		return nil, false, err
	}
	if rec.Run.ID == "" {
		return nil, false, errors.New("reading the record: it has no run line: not a podskew record, or cut before anything was recorded")
	}
	rec.Connections = latest(rec.Connections)
	return rec, rec.End == nil, nil
}

// latest keeps the last row of each connection, at the place of its first: agents report a long-lived
// connection while it is open and again when it closes.
func latest(rows []Connection) []Connection {
	type key struct {
		stream, agent string
		id            int
	}
	at := make(map[key]int, len(rows))
	out := rows[:0]
	for _, c := range rows {
		k := key{c.Stream, c.Agent, c.ID}
		if i, seen := at[k]; seen {
			out[i] = c
			continue
		}
		at[k] = len(out)
		out = append(out, c)
	}
	return out
}

// readLines stops without an error at the last whole line of a file that was cut.
func (rec *Record) readLines(in *bufio.Reader) error {
	for n := 1; ; n++ {
		line, err := readLine(in)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil // a last line without its newline is not whole
		case err != nil:
			return fmt.Errorf("reading the record: line %d: %w", n, err)
		}
		if err := rec.add(line, n); err != nil {
			return err
		}
	}
}

func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (rec *Record) add(data []byte, n int) error {
	var l Line
	if err := json.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("reading the record: line %d: %w", n, err)
	}
	if (n == 1) != (l.Run != nil) {
		return fmt.Errorf("reading the record: line %d: the run line must be the first line and only that", n)
	}
	switch {
	case l.Run != nil:
		if l.Version != Version {
			return fmt.Errorf("reading the record: apiVersion is %q, this podskew reads %q", l.Version, Version)
		}
		rec.Run = *l.Run
	case l.Facts != nil:
		rec.Facts = *l.Facts
	case l.FactsAfter != nil:
		rec.FactsAfter = l.FactsAfter
	case l.Stream != nil:
		rec.Streams = append(rec.Streams, *l.Stream)
	case l.Event != nil:
		rec.Events = append(rec.Events, *l.Event)
	case l.Generator != nil:
		rec.Generators = append(rec.Generators, *l.Generator)
	case l.Server != nil:
		rec.Servers = append(rec.Servers, *l.Server)
	case l.End != nil:
		rec.End = l.End
	}
	rec.Connections = append(rec.Connections, l.Connections...)
	rec.Tallies = append(rec.Tallies, l.Tallies...)
	rec.Samples = append(rec.Samples, l.Samples...)
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
