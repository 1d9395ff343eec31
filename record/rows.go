package record

import "bytes"

// Beginnings of the lines that the scanner reads.
const (
	connectionsHead = `{"connections":`
	samplesHead     = `{"samples":`
	columnsHead     = `{"columns":`
)

// scan reads a line that holds nothing but connections or columns of samples; samples one by one stand in records of old. It
// reports whether it could: if not, nothing has been kept.
func (r *reader) scan(line []byte) (bool, error) {
	r.scanner.b, r.scanner.i = line, 0
	switch {
	case bytes.HasPrefix(line, []byte(connectionsHead)):
		return r.scanConnections(), nil
	case bytes.HasPrefix(line, []byte(columnsHead)):
		if !r.scanColumns() {
			return false, nil
		}
		return true, r.keepColumns(&r.columns)
	case bytes.HasPrefix(line, []byte(samplesHead)):
		if !r.scanSamples() {
			return false, nil
		}
		return true, r.keepSamples(r.samples)
	}
	return false, nil
}

func (r *reader) scanConnections() bool {
	s := &r.scanner
	s.i = len(connectionsHead)
	before := len(r.rec.Connections)
	ok := s.array(func() bool {
		var c Connection
		if !s.object(func(key []byte) bool { return s.connection(&c, key) }) {
			return false
		}
		r.rec.Connections = append(r.rec.Connections, c)
		return len(r.rec.Connections)-before <= maxObjects/10
	})
	if !ok || !s.byte('}') || !s.end() {
		r.rec.Connections = r.rec.Connections[:before]
		return false
	}
	return true
}

// connection reads one field of a connection. Other answers than the first pod's are rare, and left to encoding/json.
func (s *scanner) connection(c *Connection, key []byte) (ok bool) {
	switch string(key) {
	case "stream":
		c.Stream, ok = s.name()
	case "agent":
		c.Agent, ok = s.name()
	case "id":
		c.ID, ok = s.int()
	case "slot":
		c.Slot, ok = s.int()
	case "address":
		c.Address, ok = s.name()
	case "dialled":
		c.Dialled, ok = s.name()
	case "local":
		c.Local, ok = s.string()
	case "opened":
		c.Opened, ok = s.float()
	case "connected":
		c.Connected, ok = s.float()
	case "closed":
		c.Closed, ok = s.float()
	case "requests":
		c.Requests, ok = s.int()
	case "warmUp":
		c.WarmUp, ok = s.int()
	case "backend":
		c.Backend, ok = s.name()
	case "observed":
		c.Observed, ok = s.string()
	case "forwarded":
		c.Forwarded, ok = s.string()
	case "proxied":
		c.Proxied, ok = s.string()
	case "key":
		c.Key, ok = s.name()
	case "serverConn":
		var v int64
		if v, ok = s.integer(); ok && v >= 0 {
			c.ServerConn = uint64(v)
		} else {
			ok = false
		}
	case "error":
		var kind string
		kind, ok = s.name()
		c.Error = ErrorKind(kind)
	case "errorDetail":
		c.ErrorDetail, ok = s.name()
	}
	return ok
}

func (r *reader) scanSamples() bool {
	s := &r.scanner
	s.i = len(samplesHead)
	r.samples = r.samples[:0]
	ok := s.array(func() bool {
		var one Sample
		if !s.object(func(key []byte) bool { return s.sample(&one, key) }) {
			return false
		}
		r.samples = append(r.samples, one)
		return len(r.samples) <= maxObjects/10
	})
	return ok && s.byte('}') && s.end()
}

func (s *scanner) sample(one *Sample, key []byte) (ok bool) {
	switch string(key) {
	case "s":
		one.Stream, ok = s.name()
	case "a":
		one.Agent, ok = s.name()
	case "c":
		one.Connection, ok = s.int()
	case "t":
		one.Sent, ok = s.float()
	case "d":
		one.Late, ok = s.float()
	case "l":
		one.Latency, ok = s.float()
	case "e":
		var kind string
		kind, ok = s.name()
		one.Error = ErrorKind(kind)
	}
	return ok
}

func (r *reader) scanColumns() bool {
	s, c := &r.scanner, &r.columns
	s.i = len(columnsHead)
	c.Stream, c.Agent, c.Errors = "", "", nil
	c.Connections, c.Sent, c.Latency, c.Late = c.Connections[:0], c.Sent[:0], c.Latency[:0], c.Late[:0]
	ok := s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "s":
			c.Stream, ok = s.name()
		case "a":
			c.Agent, ok = s.name()
		case "c":
			c.Connections, ok = s.integers(c.Connections)
		case "t":
			c.Sent, ok = s.integers(c.Sent)
		case "l":
			c.Latency, ok = s.integers(c.Latency)
		case "d":
			c.Late, ok = s.integers(c.Late)
		case "e":
			ok = c.Errors == nil && r.scanErrors()
		}
		return ok
	})
	return ok && s.byte('}') && s.end()
}

func (r *reader) scanErrors() bool {
	s := &r.scanner
	r.columns.Errors = map[ErrorKind][]int{}
	return s.object(func(key []byte) bool {
		kind := ErrorKind(key)
		list, ok := s.integers(nil)
		positions := make([]int, len(list))
		for i, v := range list {
			positions[i] = int(v)
		}
		r.columns.Errors[kind] = positions
		return ok
	})
}
