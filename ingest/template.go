package ingest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// ingressFormat is the default log_format of ingress-nginx.
const ingressFormat = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" ` +
	`$request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length ` +
	`$upstream_response_time $upstream_status $req_id`

// The default formats of Envoy and Istio, in the same notation. Newer ones have more at the end.
const (
	envoyFormat = `[$start_time] "$request" $response_code $response_flags $bytes_received $bytes_sent $duration $service_time ` +
		`"$x_forwarded_for" "$user_agent" "$request_id" "$authority" "$upstream_host"$rest`
	istioFormat = `[$start_time] "$request" $response_code $response_flags $response_code_details $termination_details "$failure_reason" ` +
		`$bytes_received $bytes_sent $duration $service_time "$x_forwarded_for" "$user_agent" "$request_id" "$authority" "$upstream_host" ` +
		`$upstream_cluster $upstream_local_address $downstream_local_address $downstream_remote_address $requested_server_name $route_name`
)

// template reads access logs by the format they were written with, in the notation of nginx's log_format.
type template struct {
	parts        []part
	names        Fields
	clock        clock
	perLine      bool // nginx's stream module: a line is a connection
	milliseconds bool // the latency is in milliseconds if it has no unit
}

// part is one variable and the text that follows it.
type part struct {
	name  string
	role  role
	list  bool // of an upstream variable: may hold blanks between the servers
	until []byte
}

// role is what a variable tells.
type role int

const (
	ignored role = iota
	backendRole
	clientRole
	connectionRole
	timeRole
	statusRole
	latencyRole
)

// newTemplate compiles a log_format. The text before the first variable is in the first part, which has no name.
func newTemplate(format string, given Fields) (*template, error) {
	n := &template{}
	literal, rest, found := strings.Cut(format, "$")
	if !found {
		return nil, fmt.Errorf("log format %q: it has no variable", format)
	}
	n.parts = append(n.parts, part{until: []byte(literal)})
	for found {
		end := len(rest)
		if i := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }); i >= 0 {
			end = i
		}
		name := rest[:end]
		if strings.HasPrefix(rest, "{") {
			closing := strings.IndexByte(rest, '}')
			if closing < 0 {
				return nil, fmt.Errorf("log format: ${%s is not closed", rest[1:])
			}
			name, end = rest[1:closing], closing+1
		}
		if name == "" {
			return nil, fmt.Errorf("log format: a dollar without a name before %q", rest)
		}
		literal, rest, found = strings.Cut(rest[end:], "$")
		if literal == "" && found {
			return nil, fmt.Errorf("log format: nothing between $%s and the variable after it tells where it ends", name)
		}
		n.parts = append(n.parts, part{name: name, list: isList(name), until: []byte(literal)})
	}
	n.choose(given)
	if n.names.Backend == "" {
		return nil, fmt.Errorf("log format: no variable tells the backend: want $upstream_addr in it, or the name of the one that does")
	}
	return n, nil
}

// choose finds the variables that tell something.
func (n *template) choose(given Fields) {
	first := func(names ...string) string {
		for _, name := range names {
			if slices.ContainsFunc(n.parts, func(p part) bool { return p.name == name }) {
				return name
			}
		}
		return ""
	}
	n.perLine = first("protocol", "session_time") != "" && first("request", "request_uri", "uri") == ""
	n.names = given.orElse(Fields{
		Backend: first("upstream_addr", "upstream_host"), Client: first("remote_addr", "realip_remote_addr", "downstream_remote_address", "x_forwarded_for"),
		Time: first("msec", "time_iso8601", "time_local", "start_time"), Status: first("status", "response_code"),
		Latency: first("upstream_response_time", "request_time", "session_time", "duration"),
	})
	for i, p := range n.parts {
		switch p.name {
		case "":
		case n.names.Backend:
			n.parts[i].role = backendRole
		case n.names.Client:
			n.parts[i].role = clientRole
		case n.names.Connection:
			n.parts[i].role = connectionRole
		case n.names.Time:
			n.parts[i].role = timeRole
		case n.names.Status:
			n.parts[i].role = statusRole
		case n.names.Latency:
			n.parts[i].role = latencyRole
			n.milliseconds = p.name == "duration" // Envoy's
		}
	}
}

func (n *template) fields() Fields { return n.names }

func (n *template) unit() record.Unit {
	if n.perLine || n.names.Connection != "" {
		return record.UnitConnection
	}
	return record.UnitRequest
}

func (n *template) parse(line []byte, e *entry) error {
	for i := range n.parts {
		p := &n.parts[i]
		value, rest, ok := p.cut(line)
		if !ok {
			return fmt.Errorf("%q expected after %s", p.until, cmp.Or(p.name, "the beginning"))
		}
		line = rest
		if i == 0 && len(value) > 0 {
			return fmt.Errorf("%q expected at the beginning", p.until)
		}
		if err := n.take(p, value, e); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if e.status == 0 && len(e.backend) == 0 {
		return errSkip
	}
	return nil
}

// cut returns the value of the part and what follows the text after it.
func (p *part) cut(line []byte) (value, rest []byte, ok bool) {
	if len(p.until) == 0 {
		if p.name == "" {
			return nil, line, true
		}
		return line, nil, true
	}
	at := 0
	for {
		i := bytes.Index(line[at:], p.until)
		if i < 0 {
			if bytes.Equal(bytes.TrimRight(p.until, " "), nil) { // blanks at the end of a line are trimmed
				return line, nil, true
			}
			return nil, nil, false
		}
		at += i
		// A list goes on after ", " and around " : ".
		if p.list && at > 0 && (line[at-1] == ',' || line[at-1] == ':' && at > 1 && line[at-2] == ' ' || bytes.HasPrefix(line[at:], []byte(" : "))) {
			at += len(p.until)
			continue
		}
		return line[:at], line[at+len(p.until):], true
	}
}

// take enters a value.
func (n *template) take(p *part, value []byte, e *entry) (err error) {
	if p.role == ignored || none(value) {
		return nil
	}
	if p.list {
		if value = last(value); none(value) {
			return nil
		}
	}
	switch p.role {
	case backendRole:
		e.backend = bytes.TrimPrefix(value, []byte("tcp://"))
	case clientRole:
		e.client = host(value)
	case connectionRole:
		e.connection = value
	case timeRole:
		e.at, err = n.clock.parse(value)
	case statusRole:
		e.status, err = status(value)
	case latencyRole:
		if e.latency, err = seconds(value); n.milliseconds {
			e.latency *= 1e-3
		}
	default:
	}
	return err
}

// isList reports whether a variable of nginx has one part for each server that was tried.
func isList(name string) bool {
	switch name {
	case "upstream_addr", "upstream_status", "upstream_response_time", "upstream_connect_time", "upstream_header_time",
		"upstream_response_length", "upstream_bytes_sent", "upstream_bytes_received", "upstream_session_time":
		return true
	}
	return false
}
