package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// last returns the last part of a value of nginx's upstream variables, which hold one part per server that was tried,
// "a, b : c": its answer is the one that was passed on.
func last(list []byte) []byte {
	from := 0
	if i := bytes.LastIndex(list, []byte(", ")); i >= 0 {
		from = i + 2
	}
	if i := bytes.LastIndex(list, []byte(" : ")); i >= 0 {
		from = max(from, i+3)
	}
	return list[from:]
}

// none reports whether a value stands for "nothing".
func none(v []byte) bool { return len(v) == 0 || len(v) == 1 && v[0] == '-' }

// host returns an address without its port; what is no address stays as it is.
func host(v []byte) []byte {
	if len(v) > 0 && v[0] == '[' {
		if end := bytes.IndexByte(v, ']'); end > 0 {
			return v[1:end]
		}
		return v
	}
	first, second := bytes.IndexByte(v, ':'), bytes.LastIndexByte(v, ':')
	if first >= 0 && first == second {
		return v[:first]
	}
	return v
}

// isAddress reports whether v is ip:port.
func isAddress(v []byte) bool {
	_, err := netip.ParseAddrPort(string(v))
	return err == nil
}

// number parses a decimal number without allocating for the common case.
func number(v []byte) (float64, error) {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%q is no number", clean(v, 40))
	}
	return f, nil
}

// seconds parses a latency: a number of seconds, or one with a unit.
func seconds(v []byte) (float64, error) {
	if f, err := number(v); err == nil {
		if f < 0 {
			return 0, fmt.Errorf("%q is no latency", clean(v, 40))
		}
		return f, nil
	}
	d, err := time.ParseDuration(string(v))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no latency: want seconds, or a number with a unit like 12ms", clean(v, 40))
	}
	return d.Seconds(), nil
}

// status parses an HTTP status.
func status(v []byte) (int, error) {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 || n > 999 {
		return 0, fmt.Errorf("%q is no status", clean(v, 40))
	}
	return n, nil
}

// clock parses times. Requests of one second follow each other in logs, so that it remembers the last one.
type clock struct {
	text []byte
	at   float64
}

// errTime says what a time may look like.
var errTime = errors.New("want RFC 3339, 02/Jan/2006:15:04:05 -0700, or seconds since 1970")

// layouts are the ways in which logs write times, the more frequent first.
func layouts() []string {
	return []string{"02/Jan/2006:15:04:05 -0700", time.RFC3339Nano, "02/Jan/2006:15:04:05.000", "2006-01-02T15:04:05.000Z0700", "2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02 15:04:05", "2006/01/02 15:04:05"}
}

// parse returns the seconds since 1970. Numbers above 1e11 are milliseconds, above 1e14 microseconds, above 1e17 nanoseconds.
func (c *clock) parse(v []byte) (float64, error) {
	if len(v) > 0 && bytes.Equal(v, c.text) {
		return c.at, nil
	}
	at, err := parseTime(v)
	if err != nil {
		return 0, err
	}
	c.text, c.at = append(c.text[:0], v...), at
	return at, nil
}

func parseTime(v []byte) (float64, error) {
	if f, err := strconv.ParseFloat(string(v), 64); err == nil {
		for _, unit := range []float64{1e17, 1e14, 1e11} {
			if f > unit {
				f /= unit / 1e8
				break
			}
		}
		if f > 0 && f < math.MaxUint32 {
			return f, nil
		}
		return 0, fmt.Errorf("%q is no time: %w", clean(v, 40), errTime)
	}
	for _, layout := range layouts() {
		if t, err := time.Parse(layout, string(v)); err == nil && t.Unix() > 0 {
			return float64(t.Unix()) + float64(t.Nanosecond())*1e-9, nil
		}
	}
	return 0, fmt.Errorf("%q is no time: %w", clean(v, 40), errTime)
}
