package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// kubeLogs reads "kubectl logs --prefix": [pod/NAME/CONTAINER] followed by what the pod wrote, one request a line.
type kubeLogs struct{ inner *objects }

func (k *kubeLogs) fields() Fields {
	f := k.inner.names
	f.Backend = "pod of the prefix"
	return f
}
func (k *kubeLogs) unit() record.Unit { return k.inner.chosen }

// cutPrefix splits off [pod/NAME/CONTAINER].
func cutPrefix(line []byte) (pod, rest []byte, ok bool) {
	if !bytes.HasPrefix(line, []byte("[pod/")) {
		return nil, nil, false
	}
	prefix, rest, closed := bytes.Cut(line[len("[pod/"):], []byte("]"))
	if !closed {
		return nil, nil, false
	}
	pod, _, _ = bytes.Cut(prefix, []byte("/"))
	return pod, bytes.TrimSpace(rest), len(pod) > 0
}

func (k *kubeLogs) parse(line []byte, e *entry) error {
	pod, rest, ok := cutPrefix(line)
	if !ok {
		return errors.New("no [pod/NAME/CONTAINER] before it: want kubectl logs --prefix")
	}
	if len(rest) == 0 {
		return errSkip
	}
	if object, err := decode(rest); err == nil {
		if err := k.inner.details(object, e); err != nil && !errors.Is(err, errSkip) {
			return err
		}
		e.failed = ""
	}
	e.backend = pod
	if len(e.connection) > 0 { // numbers of connections are the pod's own
		e.connection = append(append(bytes.Clone(pod), ' '), e.connection...)
	}
	return nil
}

// columns reads CSV with a line of names.
type columns struct {
	comma  rune
	header []string
	names  Fields
	clock  clock
	begun  bool
}

// newColumns reads the line of names.
func newColumns(first []byte, given Fields) (*columns, error) {
	c := &columns{comma: ','}
	for _, r := range ";\t" {
		if strings.Count(string(first), string(r)) > strings.Count(string(first), string(c.comma)) {
			c.comma = r
		}
	}
	header, err := c.split(first)
	if err != nil {
		return nil, err
	}
	for i, name := range header {
		header[i] = strings.TrimSpace(strings.TrimPrefix(name, "\uFEFF"))
	}
	c.header = header
	find := func(names ...string) string {
		for _, name := range names {
			if i := slices.IndexFunc(header, func(h string) bool { return strings.EqualFold(h, name) }); i >= 0 {
				return header[i]
			}
		}
		return ""
	}
	c.names = given.orElse(Fields{
		Backend: find("backend", "pod", "pod_name", "server", "upstream", "upstream_addr", "upstream_host", "hostname", "host"),
		Client:  find("client", "client_ip", "remote_addr", "source", "source_ip"), Connection: find("connection", "connection_id", "conn"),
		Time: find("time", "timestamp", "ts", "start", "date"), Status: find("status", "code", "response_code"), Latency: find("latency", "duration", "seconds", "response_time"),
	})
	for _, f := range []string{c.names.Backend, c.names.Client, c.names.Connection, c.names.Time, c.names.Status, c.names.Latency} {
		if f != "" && !slices.Contains(header, f) {
			return nil, fmt.Errorf("no column %q: there are %s", f, clean([]byte(strings.Join(header, ", ")), 200))
		}
	}
	if c.names.Backend == "" {
		return nil, fmt.Errorf("no column tells the backend: there are %s", clean([]byte(strings.Join(header, ", ")), 200))
	}
	return c, nil
}

func (c *columns) split(line []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(line))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = c.comma, -1, true
	fields, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("no line of CSV: %w", err)
	}
	return fields, nil
}

func (c *columns) fields() Fields { return c.names }

func (c *columns) unit() record.Unit {
	if c.names.Connection != "" {
		return record.UnitConnection
	}
	return record.UnitUnknown
}

func (c *columns) parse(line []byte, e *entry) error {
	if !c.begun {
		c.begun = true
		return errSkip
	}
	fields, err := c.split(line)
	if err != nil {
		return err
	}
	if len(fields) != len(c.header) {
		return fmt.Errorf("%d fields, the line of names has %d", len(fields), len(c.header))
	}
	for i, name := range c.header {
		value := []byte(strings.TrimSpace(fields[i]))
		if name == "" || none(value) {
			continue
		}
		switch name {
		case c.names.Backend:
			e.backend = value
		case c.names.Client:
			e.client = host(value)
		case c.names.Connection:
			e.connection = value
		case c.names.Time:
			e.at, err = c.clock.parse(value)
		case c.names.Status:
			e.status, err = status(value)
		case c.names.Latency:
			e.latency, err = seconds(value)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
	}
	if len(e.backend) == 0 && e.status < 400 {
		e.failed = record.ErrOther
	}
	return nil
}

// fortioResult is the part of fortio's result that says who was connected to.
type fortioResult struct {
	RunType    string
	StartTime  string
	IPCountMap map[string]int
	RetCodes   map[string]int
}

func looksLikeFortio(head []byte) bool {
	head = bytes.TrimSpace(head)
	return len(head) > 0 && head[0] == '{' && bytes.Contains(head, []byte(`"RunType"`)) && (bytes.Contains(head, []byte(`"RequestedQPS"`)) || bytes.Contains(head, []byte(`"IPCountMap"`)))
}

// readFortio reads the one object of a result. It tells how many connections went to each address, and nothing about
// requests: those are not told apart by backend.
func readFortio(in *bufio.Reader, o Options) (*record.Record, *Account, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxWhole+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("reading the data: %w", err)
	case len(data) > maxWhole:
		return nil, nil, fmt.Errorf("reading the data: a fortio result of more than %d bytes", maxWhole)
	}
	var result fortioResult
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, nil, fmt.Errorf("reading the data: no fortio result: %w", err)
	}
	if len(result.IPCountMap) == 0 {
		return nil, nil, errors.New("reading the data: the fortio result has no IPCountMap: it does not say who was connected to")
	}
	a := &Account{Format: Fortio, Fields: Fields{Backend: "IPCountMap"}, Lines: 1}
	b := newBuilder(o, record.UnitConnection)
	var c clock
	at, _ := c.parse([]byte(result.StartTime))
	for _, ip := range slices.SortedFunc(maps.Keys(result.IPCountMap), cmp.Compare) {
		if n := result.IPCountMap[ip]; n > 0 && len(ip) <= maxName {
			b.add(&entry{at: at, backend: []byte(ip), latency: -1, count: n})
			a.Requests += n
		}
	}
	if a.Requests == 0 {
		return nil, nil, errors.New("reading the data: the fortio result counts no connections")
	}
	return b.record(a), a, nil
}
