package ingest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/ingest"
	"github.com/podskew/podskew/record"
)

// lines joins lines.
func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

const (
	ingress = `10.1.0.7 - - [21/Nov/2026:03:00:0%d +0000] "GET / HTTP/1.1" %d 12 "-" "curl" 80 0.004 [default-echo-80] [] %s 12 0.003 %s deadbeef`
	envoy   = `[2026-11-21T03:00:0%d.310Z] "GET / HTTP/1.1" 200 - 154 0 226 100 "10.1.0.7" "curl" "cc21d9b0" "echo" "tcp://%s"`
	istio   = `[2026-11-21T03:00:0%d.310Z] "GET / HTTP/1.1" 200 - via_upstream - "-" 0 12 5 4 "-" "curl" "cc21d9b0" "echo" "%s" outbound|80||echo 10.0.0.3:5 10.0.0.9:80 10.1.0.7:4444 - default`
	httplog = `<134>Nov 21 03:00:01 lb haproxy[143]: 10.1.0.7:3331%d [21/Nov/2026:03:00:01.655] http-in echo/%s 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1"`
	tcplog  = `10.1.0.7:3331%d [21/Nov/2026:03:00:01.443] fnt echo/%s 0/0/5007 212 -- 0/0/0/0/3 0/0`
)

// read reads text and returns requests by backend.
func read(t *testing.T, text string, o ingest.Options) (*record.Record, *ingest.Account, map[string]int) {
	t.Helper()
	rec, a, err := ingest.Read(strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, tally := range rec.Tallies {
		counts[tally.Backend] += tally.Requests
	}
	return rec, a, counts
}

func TestReadsWhatOtherToolsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		o    ingest.Options
		as   ingest.Format
		want map[string]int
		unit record.Unit
	}{
		"ingress-nginx, the last of several upstreams": {
			text: lines(fmt.Sprintf(ingress, 1, 200, "10.0.0.1:80", "200"), fmt.Sprintf(ingress, 2, 200, "10.0.0.2:80, 10.0.0.1:80", "502, 200"), fmt.Sprintf(ingress, 2, 200, "10.0.0.2:80 : 10.0.0.3:80", "302 : 200")),
			as:   ingest.Nginx, want: map[string]int{"10.0.0.1:80": 2, "10.0.0.3:80": 1}, unit: record.UnitRequest,
		},
		"nginx with a log_format of its own": {
			text: lines(`1763694000.123|10.1.0.7|200|10.0.0.1:80`, `1763694001.123|10.1.0.8|200|10.0.0.2:80`),
			o:    ingest.Options{LogFormat: `$msec|$remote_addr|$status|$upstream_addr`},
			as:   ingest.Nginx, want: map[string]int{"10.0.0.1:80": 1, "10.0.0.2:80": 1}, unit: record.UnitRequest,
		},
		"nginx's stream module, a connection a line": {
			text: lines(`10.1.0.7 [21/Nov/2026:03:00:01 +0000] TCP 200 5.1 "10.0.0.1:80"`, `10.1.0.7 [21/Nov/2026:03:00:01 +0000] TCP 200 5.1 "10.0.0.1:80"`),
			o:    ingest.Options{LogFormat: `$remote_addr [$time_local] $protocol $status $session_time "$upstream_addr"`},
			as:   ingest.Nginx, want: map[string]int{"10.0.0.1:80": 2}, unit: record.UnitConnection,
		},
		"Envoy's text": {
			text: lines(fmt.Sprintf(envoy, 1, "10.0.0.1:80"), fmt.Sprintf(envoy, 2, "10.0.0.2:80")),
			as:   ingest.Envoy, want: map[string]int{"10.0.0.1:80": 1, "10.0.0.2:80": 1}, unit: record.UnitRequest,
		},
		"Istio's text": {
			text: lines(fmt.Sprintf(istio, 1, "10.0.0.1:80"), fmt.Sprintf(istio, 2, "10.0.0.2:80")),
			as:   ingest.Envoy, want: map[string]int{"10.0.0.1:80": 1, "10.0.0.2:80": 1}, unit: record.UnitRequest,
		},
		"Istio's JSON": {
			text: lines(`{"upstream_host":"10.0.0.1:80","response_code":200,"duration":12,"start_time":"2026-11-21T03:00:01.3Z","downstream_remote_address":"10.1.0.7:5"}`),
			as:   ingest.NDJSON, want: map[string]int{"10.0.0.1:80": 1}, unit: record.UnitRequest,
		},
		"Caddy's JSON with the pod's header": {
			text: lines(`{"level":"info","ts":1763694000.5,"logger":"http.log.access","request":{"remote_ip":"10.1.0.7","remote_port":"9"},"duration":0.002,"status":200,"resp_headers":{"X-Pod":["echo-a"]}}`),
			as:   ingest.NDJSON, want: map[string]int{"echo-a": 1}, unit: record.UnitRequest,
		},
		"HAProxy's httplog behind syslog": {
			text: lines(fmt.Sprintf(httplog, 1, "srv1"), fmt.Sprintf(httplog, 2, "srv2"), fmt.Sprintf(httplog, 2, "<NOSRV>")),
			as:   ingest.HAProxy, want: map[string]int{"srv1": 1, "srv2": 1, "": 1}, unit: record.UnitRequest,
		},
		"HAProxy's tcplog, a connection a line": {
			text: lines(fmt.Sprintf(tcplog, 1, "srv1"), fmt.Sprintf(tcplog, 2, "srv2")),
			as:   ingest.HAProxy, want: map[string]int{"srv1": 1, "srv2": 1}, unit: record.UnitConnection,
		},
		"k6, of whose many metrics one is the requests": {
			text: lines(`{"type":"Metric","data":{"name":"http_reqs"},"metric":"http_reqs"}`,
				`{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-21T03:00:01.5Z","value":1,"tags":{"pod":"echo-a","status":"200"}}}`,
				`{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-21T03:00:01.5Z","value":4.5,"tags":{"pod":"echo-a","status":"200"}}}`),
			as: ingest.K6, want: map[string]int{"echo-a": 1}, unit: record.UnitUnknown,
		},
		"vegeta, by the answer's body": {
			text: lines(`{"attack":"","seq":0,"code":200,"timestamp":"2026-11-21T03:00:01.5Z","latency":4500000,"body":"eyJwb2QiOiJlY2hvLWEifQ==","headers":{}}`),
			as:   ingest.Vegeta, want: map[string]int{"echo-a": 1}, unit: record.UnitUnknown,
		},
		"fortio, which counts connections by address": {
			text: `{"RunType":"HTTP","StartTime":"2026-11-21T03:00:01Z","RequestedQPS":"8","IPCountMap":{"10.0.0.1:80":3,"10.0.0.2:80":1}}`,
			as:   ingest.Fortio, want: map[string]int{"10.0.0.1:80": 3, "10.0.0.2:80": 1}, unit: record.UnitConnection,
		},
		"kubectl logs --prefix": {
			text: lines(`[pod/echo-a/echo] GET / from 10.1.0.7`, `[pod/echo-a/echo] GET /`, `[pod/echo-b/echo] {"msg":"request","client":"10.1.0.7:5"}`),
			as:   ingest.KubeLogs, want: map[string]int{"echo-a": 2, "echo-b": 1}, unit: record.UnitUnknown,
		},
		"CSV with semicolons": {
			text: lines("time;pod;connection;latency", "2026-11-21T03:00:01Z;echo-a;1;2ms", "2026-11-21T03:00:02Z;echo-a;1;3ms", "2026-11-21T03:00:02Z;echo-b;2;3ms"),
			as:   ingest.CSV, want: map[string]int{"echo-a": 2, "echo-b": 1}, unit: record.UnitConnection,
		},
		"CSV with columns that are named": {
			text: lines("who,what", "echo-a,x", "echo-b,y"), o: ingest.Options{Fields: ingest.Fields{Backend: "who"}},
			as: ingest.CSV, want: map[string]int{"echo-a": 1, "echo-b": 1}, unit: record.UnitUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec, a, got := read(t, c.text, c.o)
			if a.Format != c.as || a.Malformed != 0 {
				t.Errorf("read as %s, %d malformed lines %v, want as %s and none", a.Format, a.Malformed, a.Problems, c.as)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("requests by backend (-want +got):\n%s", diff)
			}
			if rec.Streams[0].Unit != c.unit {
				t.Errorf("unit %q, want %q", rec.Streams[0].Unit, c.unit)
			}
		})
	}
}

func TestRequestsOfOneConnectionAreOneUnit(t *testing.T) {
	rec, _, _ := read(t, lines("time,pod,connection", "5,echo-a,x", "6,echo-a,x", "6,echo-b,y", "7,echo-c,x"), ingest.Options{})
	want := []record.Connection{
		{Stream: "log", Agent: "log", ID: 1, Address: "data", Opened: 0, Closed: 2, Connected: 0, Requests: 3, Backend: "echo-a", Others: map[string]int{"echo-c": 1}},
		{Stream: "log", Agent: "log", ID: 2, Address: "data", Opened: 1, Closed: 1, Connected: 1, Requests: 1, Backend: "echo-b"},
	}
	if diff := cmp.Diff(want, rec.Connections); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	units := 0
	for _, tally := range rec.Tallies {
		units += tally.Connections
	}
	if units != 2 {
		t.Errorf("the tallies count %d connections, want 2", units)
	}
}

func TestLinesThatMakeNoSenseAreCountedAndShown(t *testing.T) {
	good := fmt.Sprintf(ingress, 1, 200, "10.0.0.1:80", "200")
	text := lines(good, "\x1b[31mred\x1b[0m <script>", good, strings.Repeat("x", 2<<20), good, strings.Replace(good, "21/Nov", "99/Nov", 1), good)
	_, a, counts := read(t, text, ingest.Options{})
	if counts["10.0.0.1:80"] != 4 || a.Malformed != 3 || a.Lines != 7 {
		t.Fatalf("%d requests, %d malformed of %d lines, want 4, 3 and 7", counts["10.0.0.1:80"], a.Malformed, a.Lines)
	}
	if a.Problems[0].Line != 2 || strings.ContainsRune(a.Problems[0].Text, '\x1b') {
		t.Errorf("the first problem is %+v, want line 2 without its escapes", a.Problems[0])
	}
	if !strings.Contains(a.Problems[1].Why, "longer than") || !strings.Contains(a.Problems[2].Why, "time") {
		t.Errorf("the others are %+v", a.Problems[1:])
	}
}

func TestSaysWhatToGive(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		o          ingest.Options
	}{
		"an empty file":                       {"\n \n", "it is empty", ingest.Options{}},
		"prose":                               {"hello\nworld\n", "no format fits", ingest.Options{}},
		"JSON that names no backend":          {`{"a":1}` + "\n", "no format fits", ingest.Options{}},
		"JSON that names no backend, given":   {`{"a":1}` + "\n", "no field tells the backend", ingest.Options{Format: ingest.NDJSON}},
		"a log_format without the upstream":   {"x\n", "want $upstream_addr", ingest.Options{LogFormat: "$remote_addr $status"}},
		"a log_format that cannot be split":   {"x\n", "tells where it ends", ingest.Options{LogFormat: "$remote_addr$upstream_addr"}},
		"a column that is not there":          {"pod,x\na,b\n", `no column "nope"`, ingest.Options{Fields: ingest.Fields{Backend: "nope"}, Format: ingest.CSV}},
		"a format nobody knows":               {"x\n", `unknown format "apache"`, ingest.Options{Format: "apache"}},
		"a fortio result that counts nothing": {`{"RunType":"HTTP","RequestedQPS":"1","IPCountMap":{}}`, "IPCountMap", ingest.Options{}},
		"lines of another format":             {"a b c\n", "none of 1 lines", ingest.Options{Format: ingest.HAProxy}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := ingest.Read(strings.NewReader(c.text), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestEqualDataGiveEqualRecords(t *testing.T) {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, ingress+"\n", i%9, 200, fmt.Sprintf("10.0.0.%d:80", i%7), "200")
	}
	var first []byte
	for range 3 {
		rec, _, _ := read(t, text.String(), ingest.Options{})
		var out bytes.Buffer
		if err := record.Write(&out, rec); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = out.Bytes()
		}
		if !bytes.Equal(first, out.Bytes()) {
			t.Fatal("two readings of the same data differ")
		}
	}
	if back, cut, err := record.Read(bytes.NewReader(first)); err != nil || cut || len(back.Tallies) == 0 {
		t.Errorf("the record reads back as %v, cut %v, %v", back, cut, err)
	}
}

// bigLog is an access log of at least size bytes.
func bigLog(size int) []byte {
	var out bytes.Buffer
	for i := 0; out.Len() < size; i++ {
		fmt.Fprintf(&out, "10.1.%d.%d - - [21/Nov/2026:03:%02d:%02d +0000] \"GET /a/path/%d HTTP/1.1\" 200 12 \"-\" \"curl/8.5.0\" 80 0.00%d [default-echo-80] [] 10.0.0.%d:80 12 0.003 200 deadbeef%d\n",
			i/250%250, i%250, i/6000%60, i/100%60, i, i%9, i%13, i)
	}
	return out.Bytes()
}

func BenchmarkNginx50MB(b *testing.B) {
	log := bigLog(50 << 20)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		if _, a, err := ingest.Read(bytes.NewReader(log), ingest.Options{}); err != nil || a.Malformed > 0 {
			b.Fatal(err, a)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		fmt.Sprintf(ingress, 1, 200, "10.0.0.1:80", "200"), fmt.Sprintf(envoy, 1, "10.0.0.1:80"), fmt.Sprintf(istio, 1, "10.0.0.1:80"),
		fmt.Sprintf(httplog, 1, "a"), fmt.Sprintf(tcplog, 1, "b"), `{"pod":"a","latency":"3ms"}`, "pod,time\na,5", "[pod/a/b] {}",
		`{"RunType":"HTTP","RequestedQPS":"8","IPCountMap":{"a":1}}`, `{"metric":"http_req_duration","type":"Point","data":{"value":1,"tags":{"pod":"a"}}}`,
	} {
		for i := range ingest.Formats() {
			f.Add([]byte(seed), i)
		}
	}
	formats := append([]ingest.Format{ingest.Auto}, ingest.Formats()...)
	f.Fuzz(func(t *testing.T, data []byte, i int) {
		rec, a, err := ingest.Read(bytes.NewReader(data), ingest.Options{Format: formats[((i%len(formats))+len(formats))%len(formats)]})
		if err != nil {
			return
		}
		requests := 0
		for _, tally := range rec.Tallies {
			requests += tally.Requests
		}
		if requests != a.Requests || a.Requests < 1 {
			t.Errorf("%d requests in the record, %d in the account", requests, a.Requests)
		}
		if format := a.Format; !slices.Contains(formats, format) {
			t.Errorf("read as %q", format)
		}
	})
}
