package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// choose returns the parser for the data that begin with head.
func choose(head []byte, o Options) (parser, Format, error) {
	sample := firstLines(head)
	if o.Format == Auto && o.LogFormat != "" {
		o.Format = Nginx
	}
	if o.Format != Auto {
		p, err := named(o.Format, sample, o)
		if err != nil {
			return nil, "", fmt.Errorf("reading the data as %s: %w", o.Format, err)
		}
		return p, o.Format, nil
	}
	for _, format := range candidates(sample) {
		p, err := named(format, sample, o)
		if err != nil {
			continue
		}
		if tries(p, sample) {
			p, err = named(format, sample, o) // without what the trial left in it
			return p, format, err
		}
	}
	return nil, "", fmt.Errorf("reading the data: no format fits its first %d lines (%s …): name the format, one of %s, and the fields, or give nginx's log_format",
		len(sample), clean(sample[0], 60), joined(Formats()))
}

func joined(formats []Format) string {
	var names []string
	for _, f := range formats {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// firstLines returns whole lines of head that are not empty.
func firstLines(head []byte) [][]byte {
	var out [][]byte
	for len(out) < sniffLines {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		if line = bytes.TrimSpace(line); len(line) > 0 && (whole || len(out) == 0 || len(head) < 60<<10) {
			out = append(out, line)
		}
		if !whole {
			break
		}
		head = rest
	}
	return out
}

// candidates are the formats that the lines may have, the more telling first.
func candidates(sample [][]byte) []Format {
	switch {
	case slices.ContainsFunc(sample, func(l []byte) bool { return bytes.HasPrefix(l, []byte("[pod/")) }):
		return []Format{KubeLogs}
	case slices.ContainsFunc(sample, func(l []byte) bool { return l[0] == '{' }):
		for _, line := range sample {
			object, err := decode(line)
			if err != nil {
				continue
			}
			has := func(names ...string) bool {
				return !slices.ContainsFunc(names, func(name string) bool { _, ok := object[name]; return !ok })
			}
			switch {
			case has("type", "metric", "data"):
				return []Format{K6}
			case has("attack", "seq", "code", "latency"):
				return []Format{Vegeta}
			}
		}
		return []Format{NDJSON}
	}
	return []Format{Nginx, Envoy, HAProxy, CSV}
}

// named returns the parser of a format.
func named(format Format, sample [][]byte, o Options) (parser, error) {
	switch format {
	case Nginx:
		text := o.LogFormat
		if text == "" {
			text = ingressFormat
		}
		return newTemplate(text, o.Fields)
	case Envoy:
		istio, err := newTemplate(istioFormat, o.Fields)
		if err != nil {
			return nil, err
		}
		if tries(istio, sample) {
			return newTemplate(istioFormat, o.Fields)
		}
		return newTemplate(envoyFormat, o.Fields)
	case HAProxy:
		h := &haproxy{}
		var e entry
		for _, line := range sample {
			if h.parse(line, &e) == nil {
				break // it knows now whether a line is a connection
			}
		}
		return h, nil
	case NDJSON, K6, Vegeta:
		p := newObjects(format, sample, o.Fields)
		if p.names.Backend == "" && p.body == "" {
			return nil, errors.New("no field tells the backend: name it, as a path of names joined by dots")
		}
		return p, nil
	case KubeLogs:
		var inner [][]byte
		for _, line := range sample {
			if _, rest, ok := cutPrefix(line); ok {
				inner = append(inner, rest)
			}
		}
		return &kubeLogs{inner: newObjects(NDJSON, inner, o.Fields)}, nil
	case CSV:
		return newColumns(sample[0], o.Fields)
	default: // Fortio is no format of lines
	}
	return nil, fmt.Errorf("unknown format %q: want one of %s", format, joined(Formats()))
}

// tries reports whether at least half of the lines can be read and one of them names a backend.
func tries(p parser, sample [][]byte) bool {
	good, backends := 0, 0
	for _, line := range sample {
		e := entry{latency: -1}
		err := p.parse(line, &e)
		if err == nil || errors.Is(err, errSkip) {
			good++
		}
		if err == nil && len(e.backend) > 0 {
			backends++
		}
	}
	return backends > 0 && 2*good >= len(sample)
}

// Detect reports the format of data that begin with head, if they are in one that [Read] finds out by itself. It does not
// claim tables: any lines with commas might be one.
func Detect(head []byte) (Format, bool) {
	if looksLikeFortio(head) {
		return Fortio, true
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return "", false
	}
	_, format, err := choose(head, Options{})
	return format, err == nil && format != CSV
}
