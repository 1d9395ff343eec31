package ingest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/podskew/podskew/record"
)

// objects reads one JSON object a line.
type objects struct {
	names  Fields
	kind   Format
	scale  float64 // seconds of one unit of a latency that is a bare number
	chosen record.Unit
	body   string // where a base64 body may hold the answer of an echo pod
	want   func(object map[string]any) error
	clock  clock
}

func (o *objects) fields() Fields    { return o.names }
func (o *objects) unit() record.Unit { return o.chosen }

func (o *objects) parse(line []byte, e *entry) error {
	object, err := decode(line)
	if err != nil {
		return err
	}
	if o.want != nil {
		if err := o.want(object); err != nil {
			return err
		}
	}
	e.backend = bytes.TrimPrefix([]byte(o.text(object, o.names.Backend)), []byte("tcp://"))
	if o.kind == NDJSON {
		e.backend = last(e.backend)
	}
	if none(e.backend) {
		e.backend = nil
	}
	if len(e.backend) == 0 && o.body != "" {
		e.backend = []byte(o.fromBody(object))
	}
	return o.details(object, e)
}

// details enters what is there besides the backend.
func (o *objects) details(object map[string]any, e *entry) (err error) {
	if v := o.text(object, o.names.Client); !none([]byte(v)) {
		e.client = host([]byte(v))
	}
	if v := o.text(object, o.names.Connection); v != "" {
		e.connection = []byte(v)
	}
	if v := o.text(object, o.names.Time); v != "" {
		if e.at, err = o.clock.parse([]byte(v)); err != nil {
			return fmt.Errorf("%s: %w", o.names.Time, err)
		}
	}
	if v := o.text(object, o.names.Status); v != "" && v != "-" {
		if e.status, err = status([]byte(v)); err != nil {
			return fmt.Errorf("%s: %w", o.names.Status, err)
		}
	}
	if v := string(last([]byte(o.text(object, o.names.Latency)))); v != "" && v != "-" {
		if e.latency, err = seconds([]byte(v)); err != nil {
			return fmt.Errorf("%s: %w", o.names.Latency, err)
		}
		if _, bare := number([]byte(v)); bare == nil {
			e.latency *= o.scale
		}
	}
	if len(e.backend) == 0 && e.status == 0 && e.latency < 0 {
		return errSkip
	}
	if len(e.backend) == 0 && e.status < 400 {
		e.failed = record.ErrOther
	}
	return nil
}

// decode parses one object. Numbers keep their digits.
func decode(line []byte) (map[string]any, error) {
	if len(line) == 0 || line[0] != '{' {
		return nil, errors.New("no JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	return object, nil
}

// text returns the value at a path of names joined by dots, "" without one. A list stands for its first element.
func (o *objects) text(object map[string]any, path string) string {
	if path == "" {
		return ""
	}
	var v any = object
	for rest, more := path, true; more; {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		if whole, there := m[rest]; there { // names may have dots
			v = whole
			break
		}
		var name string
		name, rest, more = strings.Cut(rest, ".")
		if v, ok = lookup(m, name); !ok {
			return ""
		}
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// lookup finds a name, as it is written first: header fields come in any case.
func lookup(m map[string]any, name string) (any, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// fromBody returns the pod that an echo-like answer names.
func (o *objects) fromBody(object map[string]any) string {
	raw, err := base64.StdEncoding.DecodeString(o.text(object, o.body))
	if err != nil {
		return ""
	}
	answer, err := decode(bytes.TrimSpace(raw))
	if err != nil {
		return ""
	}
	for _, path := range podPaths() {
		if pod := o.text(answer, path); pod != "" {
			return pod
		}
	}
	return ""
}

func podPaths() []string {
	return []string{"pod", "podName", "pod_name", "POD_NAME", "hostname", "kubernetes.pod_name", "environment.HOSTNAME", "host"}
}

// choices are where to look for each field, the best first.
func choices(kind Format) (backend, client, connection, at, code, latency []string) {
	switch kind {
	case K6:
		return []string{"data.tags.pod", "data.tags.backend", "data.tags.server", "data.tags.upstream", "data.tags.ip"}, nil,
			[]string{"data.tags.connection"}, []string{"data.time"}, []string{"data.tags.status"}, []string{"data.value"}
	case Vegeta:
		return []string{"headers.X-Podskew-Pod", "headers.X-Pod", "headers.X-Pod-Name", "headers.X-Backend", "headers.X-Served-By", "headers.X-Upstream"}, nil,
			[]string{"headers.X-Podskew-Connection"}, []string{"timestamp"}, []string{"code"}, []string{"latency"}
	default:
	}
	backend = append([]string{
		"upstream_addr", "upstream_host", "upstream", "upstream_address", "resp_headers.X-Podskew-Pod", "resp_headers.X-Pod", "resp_headers.X-Served-By",
		"backend", "server", "backend_name", "server_name", "ServiceAddr",
	}, podPaths()...)
	return backend, []string{"downstream_remote_address", "remote_addr", "client_ip", "request.remote_ip", "request.client_ip", "ClientHost", "client", "source_ip", "remote_ip", "observed"},
		[]string{"connection", "connection_id", "conn_id", "connectionId"},
		[]string{"start_time", "time_iso8601", "time_local", "timestamp", "@timestamp", "ts", "time", "msec"},
		[]string{"response_code", "status", "code", "DownstreamStatus", "status_code"},
		[]string{"upstream_response_time", "request_time", "duration", "latency", "latency_seconds", "Duration"}
}

// newObjects chooses the fields from the first lines.
func newObjects(kind Format, sample [][]byte, given Fields) *objects {
	o := &objects{kind: kind, scale: 1, chosen: record.UnitUnknown}
	var seen []map[string]any
	for _, line := range sample {
		if object, err := decode(line); err == nil {
			seen = append(seen, object)
		}
	}
	find := func(paths []string) string { return o.find(seen, paths) }
	backend, client, connection, at, code, latency := choices(kind)
	o.names = given.orElse(Fields{Backend: find(backend), Client: find(client), Connection: find(connection), Time: find(at), Status: find(code), Latency: find(latency)})
	switch {
	case kind == K6:
		o.scale, o.want = 1e-3, onlyDurations
	case kind == Vegeta:
		o.scale, o.body = 1e-9, "body"
	case o.find(seen, []string{"ClientHost"}) != "": // Traefik counts nanoseconds
		o.scale, o.chosen = 1e-9, record.UnitRequest
	case o.names.Backend == "upstream_host": // Envoy counts milliseconds
		o.scale, o.chosen = 1e-3, record.UnitRequest
	case strings.HasPrefix(o.names.Backend, "upstream") || strings.HasPrefix(o.names.Backend, "resp_headers."):
		o.chosen = record.UnitRequest
	}
	if o.names.Connection != "" {
		o.chosen = record.UnitConnection
	}
	return o
}

// find returns the first path that has a value in any of the objects.
func (o *objects) find(seen []map[string]any, paths []string) string {
	for _, path := range paths {
		for _, object := range seen {
			if v := o.text(object, path); v != "" && v != "-" {
				return path
			}
		}
	}
	return ""
}

// onlyDurations takes the one line in which k6 tells everything about a request.
func onlyDurations(object map[string]any) error {
	metric, _ := object["metric"].(string)
	kind, _ := object["type"].(string)
	if metric != "http_req_duration" || kind != "Point" {
		return errSkip
	}
	return nil
}
