package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// keeper puts together, while a record is written, what ReadWith with LatenciesOnly would read of its file. Rows of
// connections that survive being written and read as they are, are kept as they are; all else goes through the reader's
// own hands.
type keeper struct {
	reader reader
	rows   [][]Connection // in order; what the reader has is moved here
	lines  int
}

func newKeeper() *keeper {
	return &keeper{reader: reader{rec: &Record{}, opts: ReadOptions{LatenciesOnly: true}, scanner: scanner{names: map[string]string{}}}}
}

// line takes a line as it was written.
func (k *keeper) line(b []byte) error {
	k.lines++
	err := k.reader.add(b, k.lines)
	if rows := k.reader.rec.Connections; len(rows) > 0 {
		k.rows = append(k.rows, slices.Clone(rows))
		k.reader.rec.Connections = rows[:0]
	}
	return err
}

// connections takes the rows of a line, which are plain and not changed any more.
func (k *keeper) connections(rows []Connection) {
	k.lines++
	k.rows = append(k.rows, rows)
}

// columns takes the samples of a line.
func (k *keeper) columns(c *Columns) error {
	k.lines++
	return errors.Join(k.reader.keepColumns(c), k.reader.tooMany())
}

// record returns what was put together. The keeper is of no use afterwards.
func (k *keeper) record() (*Record, error) {
	n := 0
	for _, rows := range k.rows {
		n += len(rows)
	}
	all := make([]Connection, 0, n)
	for i, rows := range k.rows {
		all = append(all, rows...)
		k.rows[i] = nil // the garbage collector need not wait for the last of them
	}
	rec := k.reader.rec
	if rec.Connections = nil; n > 0 {
		rec.Connections = all
	}
	err := k.reader.tooMany()
	rec.Connections = latest(rec.Connections)
	return rec, err
}

// Keep makes the Writer keep what it writes from now on, for Kept; it must be called before anything but the Run line was
// written. Rows of connections that are given to Write must not be changed afterwards then.
func (w *Writer) Keep() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = newKeeper()
	return w.kept.line(w.first)
}

// Kept returns, once and after Close, the record that was written, equal to what [ReadWith] with LatenciesOnly reads from the
// file. cut is as there.
func (w *Writer) Kept() (rec *Record, cut bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept == nil {
		return nil, false, errors.New("the record was not kept")
	}
	rec, err = w.kept.record()
	w.kept = nil
	return rec, rec.End == nil, err
}

// encodeLine writes one line by encoding/json.
func (w *Writer) encodeLine(l Line) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(l); err != nil {
		return err
	}
	if l.Run != nil {
		w.first = line.Bytes()
	}
	if w.kept != nil {
		if err := w.kept.line(line.Bytes()); err != nil {
			return err
		}
	}
	_, err := w.gz.Write(line.Bytes())
	return err
}

// encodeConnections writes one line of rows.
func (w *Writer) encodeConnections(rows []Connection) error {
	line, ok := appendConnections(w.buf[:0], rows)
	w.buf = line
	if !ok {
		return w.encodeLine(Line{Connections: rows})
	}
	if w.kept != nil {
		w.kept.connections(rows)
	}
	_, err := w.gz.Write(line)
	return err
}
