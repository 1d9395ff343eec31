// Package ingest reads what other tools recorded (access logs of proxies, results of load generators, logs of pods,
// tables) into a record, so that it can be analyzed like a run of podskew. Which field says what is detected or given.
// A line that makes no sense is counted and shown, never fatal. What such data cannot tell, which requests shared a
// connection above all, is said in the record and not guessed.
package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/podskew/podskew/record"
)

// Format is a kind of data.
type Format string

// The formats.
const (
	Auto     Format = ""         // found out from the first lines
	Nginx    Format = "nginx"    // access log; its log_format is given, or that of ingress-nginx
	Envoy    Format = "envoy"    // access log, default text format of Envoy and Istio; their JSON is NDJSON
	HAProxy  Format = "haproxy"  // httplog or tcplog
	NDJSON   Format = "ndjson"   // one JSON object a line: Envoy, Istio, Caddy, nginx with JSON, …
	K6       Format = "k6"       // k6 run --out json=FILE
	Vegeta   Format = "vegeta"   // vegeta encode
	Fortio   Format = "fortio"   // fortio load -json FILE
	KubeLogs Format = "kubelogs" // kubectl logs --prefix
	CSV      Format = "csv"      // with a line of names; comma, semicolon or tab
)

// Formats returns the names of all formats.
func Formats() []Format {
	return []Format{Nginx, Envoy, HAProxy, NDJSON, K6, Vegeta, Fortio, KubeLogs, CSV}
}

// Fields names the fields that say something; "" is found out. In JSON a name is a path of names joined by dots, in CSV
// that of a column, in nginx that of a variable without its dollar.
type Fields struct {
	Backend    string `json:"backend,omitempty"`
	Client     string `json:"client,omitempty"`
	Connection string `json:"connection,omitempty"` // whatever requests of one connection have in common
	Time       string `json:"time,omitempty"`
	Status     string `json:"status,omitempty"`
	Latency    string `json:"latency,omitempty"` // a number of seconds, or one with a unit: 12ms
}

// Options say how to read. The zero value finds everything out.
type Options struct {
	Format    Format
	LogFormat string // nginx: the log_format of its configuration, on one line
	Fields    Fields
	Name      string // of the data, as reports show it
	Backends  int    // how many there are, those that are not in the data included; 0: not known
}

// Account says what became of the lines.
type Account struct {
	Format    Format    `json:"format"`
	Fields    Fields    `json:"fields"`
	Lines     int       `json:"lines"`     // that are not empty
	Requests  int       `json:"requests"`  // read from them
	Skipped   int       `json:"skipped"`   // fine, and about something else
	Malformed int       `json:"malformed"` // could not be read
	Problems  []Problem `json:"problems,omitempty"`
}

// Problem is a line that could not be read.
type Problem struct {
	Line int    `json:"line"` // from 1
	Why  string `json:"why"`
	Text string `json:"text"` // its beginning, control characters replaced
}

// Bounds that keep hostile or endless input from filling the memory.
const (
	maxLine     = 1 << 20
	maxWhole    = 256 << 20 // of formats that are read as a whole
	maxNames    = 100_000   // different backends, and clients
	maxName     = 253
	maxProblems = 10
	sniffLines  = 64
)

// errSkip is a line that is fine and tells nothing about a request.
var errSkip = errors.New("nothing about a request")

// entry is one request as a line tells it. Its byte slices are valid until the next line is parsed.
type entry struct {
	at         float64 // seconds since 1970; 0: not told
	backend    []byte  // who answered; empty: nobody
	client     []byte  // address, without a port
	connection []byte  // what requests of one connection have in common; empty: not told
	latency    float64 // seconds; negative: not told
	status     int     // 0: not told
	failed     record.ErrorKind
	count      int // requests or connections that it stands for; 0: 1
}

// parser reads lines of one format.
type parser interface {
	parse(line []byte, e *entry) error
	fields() Fields    // what it reads from where
	unit() record.Unit // what a backend is chosen for, as far as such data can tell
}

// Read reads data and returns it as a record with one stream, and what became of each line. The error says why nothing
// could be read at all. Equal data give equal records.
func Read(in io.Reader, o Options) (*record.Record, *Account, error) {
	br := bufio.NewReaderSize(in, 256<<10)
	head, err := br.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, nil, fmt.Errorf("reading the data: %w", err)
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return nil, nil, errors.New("reading the data: it is empty")
	}
	if o.Format == Fortio || o.Format == Auto && looksLikeFortio(head) {
		return readFortio(br, o)
	}
	p, format, err := choose(head, o)
	if err != nil {
		return nil, nil, err
	}
	b := newBuilder(o, p.unit())
	a := &Account{Format: format}
	if err := readLines(br, p, b, a); err != nil {
		return nil, nil, err
	}
	a.Fields = p.fields()
	if a.Requests == 0 {
		return nil, nil, a.nothing()
	}
	return b.record(a), a, nil
}

// nothing says why no line was of use.
func (a *Account) nothing() error {
	if len(a.Problems) > 0 {
		p := a.Problems[0]
		return fmt.Errorf("reading the data: none of %d lines is a request in format %s; line %d: %s: %s", a.Lines, a.Format, p.Line, p.Why, p.Text)
	}
	return fmt.Errorf("reading the data: none of %d lines is about a request, in format %s", a.Lines, a.Format)
}

// readLines feeds every line to p and every request to b.
func readLines(in *bufio.Reader, p parser, b *builder, a *Account) error {
	var e entry
	for n := 1; ; n++ {
		line, long, err := readLine(in)
		if line = bytes.TrimSpace(line); len(line) > 0 || long {
			a.Lines++
			e = entry{latency: -1}
			switch parseErr := parseLine(p, line, long, &e); {
			case errors.Is(parseErr, errSkip):
				a.Skipped++
			case parseErr != nil:
				a.refuse(n, parseErr, line)
			default:
				a.Requests += max(e.count, 1)
				b.add(&e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the data: line %d: %w", n, err)
		}
	}
}

func parseLine(p parser, line []byte, long bool, e *entry) error {
	if long {
		return fmt.Errorf("longer than %d bytes", maxLine)
	}
	if err := p.parse(line, e); err != nil {
		return err
	}
	if len(e.backend) > maxName || len(e.client) > maxName || len(e.connection) > maxName {
		return fmt.Errorf("a name in it is longer than %d bytes", maxName)
	}
	return nil
}

// readLine returns one line, of which no more than its beginning if it is too long.
func readLine(in *bufio.Reader) (line []byte, long bool, err error) {
	line, err = in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, false, err
	}
	line = bytes.Clone(line)
	for {
		var part []byte
		part, err = in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			long = true
		} else {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

func (a *Account) refuse(n int, why error, line []byte) {
	a.Malformed++
	if len(a.Problems) < maxProblems {
		a.Problems = append(a.Problems, Problem{Line: n, Why: why.Error(), Text: clean(line, 80)})
	}
}

// clean returns at most limit characters of text, with what could disturb a terminal or a page replaced.
func clean(text []byte, limit int) string {
	var out strings.Builder
	n := 0
	for _, r := range string(text[:min(len(text), 4*limit)]) {
		if n++; n > limit {
			out.WriteString("…")
			break
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			r = '\uFFFD'
		}
		out.WriteRune(r)
	}
	return out.String()
}

// orElse fills in what the user did not name.
func (f Fields) orElse(d Fields) Fields {
	return Fields{
		Backend: cmp.Or(f.Backend, d.Backend), Client: cmp.Or(f.Client, d.Client), Connection: cmp.Or(f.Connection, d.Connection),
		Time: cmp.Or(f.Time, d.Time), Status: cmp.Or(f.Status, d.Status), Latency: cmp.Or(f.Latency, d.Latency),
	}
}
