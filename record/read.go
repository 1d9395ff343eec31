package record

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of what Read accepts, so that a broken or hostile file ends in an error and not in swap. A row takes up to a hundred times
// its text, so rows are bounded as well as bytes.
const (
	maxLine        = 64 << 20
	maxTotal       = 8 << 30
	maxObjects     = 1 << 20 // opening braces in a line; of connections and samples a tenth of that
	maxConnections = 10_000_000
	maxTallies     = 20_000_000
	maxBuckets     = 100_000_000
	maxSamples     = 20_000_000
	maxLatencies   = 100_000_000 // samples without their times
)

// ReadOptions say what of a record is kept.
type ReadOptions struct {
	// LatenciesOnly fills Record.Latencies and leaves Record.Samples empty: 6 bytes for each sample instead of 88. Analysis needs no more.
	LatenciesOnly bool
}

// Read reads a record, gzip or plain, with all there is in it. A file that was cut (kill -9, a full disk) gives everything up
// to its last whole line, with Record.End nil and cut true. Anything else that is wrong is an error
// that names the line, and the byte in it where that is known.
func Read(r io.Reader) (rec *Record, cut bool, err error) { return ReadWith(r, ReadOptions{}) }

// ReadWith is Read with options.
func ReadWith(r io.Reader, opts ReadOptions) (rec *Record, cut bool, err error) {
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
	rd := &reader{rec: &Record{}, opts: opts, scanner: scanner{names: map[string]string{}}}
	if err := rd.lines(bufio.NewReaderSize(io.LimitReader(in, maxTotal), 256<<10)); err != nil {
		return nil, false, err
	}
	rec = rd.rec
	if rec.Run.ID == "" {
		return nil, false, errors.New("reading the record: it has no run line: not a podskew record, or cut before anything was recorded")
	}
	rec.Connections = latest(rec.Connections)
	return rec, rec.End == nil, nil
}

// reader puts a record together line by line.
type reader struct {
	rec     *Record
	opts    ReadOptions
	line    []byte // of the line at hand, used again
	scanner scanner
	columns Columns  // likewise
	samples []Sample // likewise
	kept    int      // samples
	buckets int
}

// lines stops without an error at the last whole line of a file that was cut.
func (r *reader) lines(in *bufio.Reader) error {
	for n := 1; ; n++ {
		err := r.next(in)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil // a last line without its newline is not whole
		case err == nil:
			err = r.add(r.line, n)
		}
		if err != nil {
			return fmt.Errorf("reading the record: line %d: %w", n, err)
		}
	}
}

// next reads one line, its newline included.
func (r *reader) next(in *bufio.Reader) error {
	r.line = r.line[:0]
	for {
		part, err := in.ReadSlice('\n')
		r.line = append(r.line, part...)
		if len(r.line) > maxLine {
			return fmt.Errorf("longer than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func (r *reader) add(line []byte, n int) error {
	if n > 1 {
		if done, err := r.scan(line); done || err != nil {
			return errors.Join(err, r.tooMany())
		}
	}
	most := maxObjects
	if bytes.HasPrefix(line, []byte(connectionsHead)) || bytes.HasPrefix(line, []byte(samplesHead)) {
		most /= 10
	}
	if objects := bytes.Count(line, []byte("{")); objects > most {
		return fmt.Errorf("%d objects in one line, the most is %d", objects, most)
	}
	var l Line
	if err := json.Unmarshal(line, &l); err != nil {
		return placed(err)
	}
	if (n == 1) != (l.Run != nil) {
		return errors.New("the run line must be the first line and only that")
	}
	if l.Run != nil && l.Version != Version {
		return fmt.Errorf("apiVersion is %q, this podskew reads %q", l.Version, Version)
	}
	return errors.Join(r.keep(&l), r.tooMany())
}

// placed adds the byte of the line at which decoding stopped.
func placed(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("byte %d: %w", e.Offset, err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("byte %d: %w", e.Offset, err)
	}
	return err
}

func (r *reader) keep(l *Line) error {
	rec := r.rec
	switch {
	case l.Run != nil:
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
	for i := range l.Tallies {
		r.buckets += len(l.Tallies[i].Latency.Buckets)
	}
	if l.Columns != nil {
		return r.keepColumns(l.Columns)
	}
	return r.keepSamples(l.Samples)
}

func (r *reader) keepColumns(c *Columns) error {
	if wrong := c.check(); wrong != "" {
		return errors.New(wrong)
	}
	r.kept += len(c.Latency)
	if r.opts.LatenciesOnly {
		if l := c.latencies(); len(l.Buckets) > 0 {
			r.rec.Latencies = append(r.rec.Latencies, l)
		}
		return nil
	}
	r.rec.Samples = c.appendSamples(r.rec.Samples)
	return nil
}

func (r *reader) keepSamples(samples []Sample) error {
	r.kept += len(samples)
	if r.opts.LatenciesOnly {
		r.rec.Latencies = append(r.rec.Latencies, latenciesOf(samples)...)
	} else {
		r.rec.Samples = append(r.rec.Samples, samples...)
	}
	return nil
}

// tooMany is the error for more rows than a reader takes in.
func (r *reader) tooMany() error {
	samples := maxSamples
	if r.opts.LatenciesOnly {
		samples = maxLatencies
	}
	for _, one := range []struct {
		n, most int
		what    string
	}{
		{len(r.rec.Connections), maxConnections, "connections"}, {len(r.rec.Tallies), maxTallies, "tallies"},
		{r.buckets, maxBuckets, "latency buckets"}, {r.kept, samples, "samples"},
	} {
		if one.n > one.most {
			return fmt.Errorf("more than %d %s", one.most, one.what)
		}
	}
	return nil
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
