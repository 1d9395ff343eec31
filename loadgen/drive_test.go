package loadgen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

const (
	readyLine = `{"ready":{"now":"2000-01-01T00:00:00Z","ips":["10.0.0.9"]}}` + "\n" // when bubbles begin
	rowJSON   = `{"stream":"web","agent":"web-0","id":1,"slot":0,"address":"10.96.0.10:80","opened":0,"requests":3,"backend":"a"}`
)

// scripted is an agent that sends what it is told to.
func scripted(out io.Reader) Post {
	return func(ctx context.Context, path string, _ io.Reader) (io.ReadCloser, error) {
		if path == StopPath {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return readCloser{out, context.AfterFunc(ctx, func() {
			if c, ok := out.(io.Closer); ok {
				_ = c.Close()
			}
		})}, nil
	}
}

type readCloser struct {
	io.Reader
	stop func() bool
}

func (r readCloser) Close() error {
	r.stop()
	if c, ok := r.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func TestDriveSaysWhatIsWrongWithAStream(t *testing.T) {
	const ended = "agent web-0 ended in the middle of the run: "
	for name, tc := range map[string]struct {
		stream, want string
	}{
		"that is empty":              {"", ended + "its results broke off"},
		"that ends early":            {readyLine, ended + "its results broke off"},
		"that is cut in a line":      {readyLine + `{"done":{"seconds":1}}`, ended + "its results broke off"},
		"with an error":              {readyLine + `{"error":"out of memory"}` + "\n", ended + "out of memory"},
		"that is a web page":         {"<html>\n", ended + "line 1 of its results: invalid character '<' looking for beginning of value"},
		"without ready":              {`{"done":{"seconds":1}}` + "\n", ended + "line 1 of its results: ready must come first and once"},
		"with ready twice":           {readyLine + readyLine, ended + "line 2 of its results: ready must come first and once"},
		"with two in one":            {readyLine + `{"progress":{"seconds":1},"done":{"seconds":1}}` + "\n", ended + "line 2 of its results: it has 2 fields: want one"},
		"with nothing in a line":     {readyLine + "{}\n", ended + "line 2 of its results: it has 0 fields: want one"},
		"with unknown fields":        {readyLine + `{"x":1}` + "\n", ended + `line 2 of its results: json: unknown field "x"`},
		"with a line without end":    {readyLine + strings.Repeat(" ", maxLine+1), ended + "line 2 of its results is longer than 2097152 bytes"},
		"of another stream":          {readyLine + `{"connections":[` + strings.Replace(rowJSON, "web", "db", 1) + "]}\n", ended + `line 2 of its results: row 1: it is of stream "db", agent "web-0", address "10.96.0.10:80", which is not in the plan`},
		"with a slot that is not":    {readyLine + `{"connections":[` + strings.Replace(rowJSON, `"slot":0`, `"slot":1`, 1) + "]}\n", ended + "line 2 of its results: row 1: numbers out of range"},
		"with an odd error":          {readyLine + `{"connections":[` + strings.Replace(rowJSON, `"slot":0`, `"error":"bad"`, 1) + "]}\n", ended + "line 2 of its results: row 1: the error is not one of the known"},
		"with more open than slots":  {readyLine + `{"open":[` + rowJSON + "," + rowJSON + "]}\n", ended + "line 2 of its results: more than 1 rows"},
		"with more errors than sent": {readyLine + `{"tallies":[{"stream":"web","agent":"web-0","address":"10.96.0.10:80","second":0,"requests":1,"errors":{"reset":1,"timeout":1}}]}` + "\n", ended + "line 2 of its results: row 1: more errors or answers than requests"},
		"with an upside-down histogram": {readyLine + `{"tallies":[{"stream":"web","agent":"web-0","address":"10.96.0.10:80","second":0,"requests":2,"latency":{"b":[{"i":2,"n":1},{"i":1,"n":1}]}}]}` + "\n",
			ended + "line 2 of its results: row 1: latency: buckets out of order or range"},
		"with too many samples": {readyLine + `{"samples":[` + strings.Repeat(`{"s":"web","a":"web-0","c":1,"t":0,"l":0},`, 10) + `{"s":"web","a":"web-0","c":1,"t":0,"l":0}]}` + "\n", ended + "line 2 of its results: more than 10 rows"},
	} {
		t.Run("a stream "+name, func(t *testing.T) {
			got := &results{}
			err := Drive(t.Context(), scripted(strings.NewReader(tc.stream)), planOf(func(p *Plan) { p.SampleCap = 10 }), got.sink(t))
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestDriveKeepsWhatCameBeforeTheEnd(t *testing.T) {
	stream := readyLine +
		`{"open":[` + rowJSON + "]}\n" +
		`{"tallies":[{"stream":"web","agent":"web-0","address":"10.96.0.10:80","backend":"a","second":0,"requests":3}]}` + "\n" +
		`{"connections":[` + strings.Replace(rowJSON, `"requests":3`, `"closed":1,"requests":4`, 1) + "]}\n" +
		`{"open":[` + strings.Replace(rowJSON, `"id":1`, `"id":2`, 1) + "]}\n"
	got := &results{}
	if err := Drive(t.Context(), scripted(strings.NewReader(stream)), planOf(nil), got.sink(t)); !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
	want := []record.Connection{{Requests: 4, Closed: 1, Backend: "a"}, {Requests: 3, Backend: "a"}}
	if diff := cmp.Diff(want, essence(got.byID())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got.requests() != 3 {
		t.Errorf("%d requests", got.requests())
	}
}

func TestDriveReturnsTheSinksError(t *testing.T) {
	err := Drive(t.Context(), scripted(strings.NewReader(readyLine)), planOf(nil), func(Message) error { return io.ErrShortWrite })
	if !errors.Is(err, io.ErrShortWrite) || err.Error() != io.ErrShortWrite.Error() {
		t.Errorf("got %v", err)
	}
}

func TestDriveGivesUpOnAnAgentThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() { _, _ = io.WriteString(w, readyLine) }()
		began := time.Now()
		err := Drive(t.Context(), scripted(r), planOf(nil), (&results{}).sink(t))
		if want := "agent web-0 ended in the middle of the run: nothing was heard of it for 15s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if took := time.Since(began); took != maxSilence {
			t.Errorf("gave up after %s", took)
		}
	})
}

func TestDriveDoesNotMistakeASlowSinkForSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := readyLine + `{"done":{"seconds":1}}` + "\n"
		err := Drive(t.Context(), scripted(strings.NewReader(stream)), planOf(nil), func(Message) error {
			time.Sleep(time.Minute)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestDriveGivesUpOnAnAgentThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		written := make(chan struct{})
		go func() {
			defer close(written)
			for line := readyLine; ; line = `{"progress":{"seconds":1}}` + "\n" {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		err := Drive(ctx, scripted(r), planOf(nil), (&results{}).sink(t))
		if want := "agent web-0 ended in the middle of the run: it did not end within 4s of being told to"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if took := time.Since(began); took != 10*time.Second+stopWithin {
			t.Errorf("gave up after %s", took)
		}
		<-written
	})
}

func TestDriveDoesNotWaitForAnAgentThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := Drive(ctx, func(ctx context.Context, _ string, _ io.Reader) (io.ReadCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, planOf(nil), (&results{}).sink(t))
		if err == nil || !strings.HasPrefix(err.Error(), "giving agent web-0 its plan: ") {
			t.Errorf("got %v", err)
		}
	})
}

func TestDriveReportsClocksThatDiffer(t *testing.T) {
	for name, tc := range map[string]struct {
		off  time.Duration
		want []string
	}{
		"ahead":       {2 * time.Second, []string{"web-0: its clock is at least 2.0 s ahead of ours, so are the times of its rows"}},
		"behind":      {-90 * time.Second, []string{"web-0: its clock is at least 90.0 s behind ours, so are the times of its rows"}},
		"only just":   {100 * time.Millisecond, nil},
		"not at all ": {0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stream bytes.Buffer
				for _, m := range []Message{{Ready: &Ready{Now: time.Now().Add(tc.off)}}, {Done: &Done{Seconds: 1}}} {
					if err := json.NewEncoder(&stream).Encode(m); err != nil {
						t.Fatal(err)
					}
				}
				got := &results{}
				if err := Drive(t.Context(), scripted(&stream), planOf(nil), got.sink(t)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.want, got.done.Problems); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestMessagesStayBelowTheLimitOfALine(t *testing.T) {
	long := strings.Repeat("x", maxName)
	row := record.Connection{Stream: long, Agent: long, Address: long, Local: long, Backend: long, Observed: long, ErrorDetail: strings.Repeat("\x01", maxDetail), Others: map[string]int{}}
	for i := range maxOthers {
		row.Others[strings.Repeat("x", maxName-8)+time.Duration(i+1e7).String()] = maxRequests
	}
	rows := make([]record.Connection, maxMessageRows)
	for i := range rows {
		rows[i] = row
		if i%10 != 0 {
			rows[i].Others = nil
		}
	}
	n := 0
	for part := range batches(rows, connectionWeight) {
		line, err := json.Marshal(Message{Connections: part})
		if err != nil {
			t.Fatal(err)
		}
		if n += len(part); len(line) >= maxLine {
			t.Errorf("%d rows make a line of %d bytes", len(part), len(line))
		}
	}
	if n != len(rows) {
		t.Errorf("%d of %d rows are in messages", n, len(rows))
	}
}

// FuzzMessages feeds a reader anything: it must end, in an error or not, and whatever it lets through must be encodable
// and be let through again.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(readyLine + `{"connections":[` + rowJSON + `]}` + "\n" + `{"done":{"seconds":1}}` + "\n"))
	f.Add([]byte(readyLine + `{"tallies":[{"stream":"web","agent":"web-0","address":"10.96.0.10:80","second":0,"requests":1,"errors":{"reset":1},"latency":{"b":[{"i":2,"n":1}],"sum":1}}]}` + "\n"))
	f.Add([]byte(readyLine + `{"samples":[{"s":"web","a":"web-0","c":1,"t":0,"l":0}]}` + "\n"))
	f.Add([]byte(readyLine + `{"progress":{"seconds":-1,"requests":2,"errors":1,"connections":1,"open":1}}` + "\n" + `{"open":[]}`))
	plan := Plan{Stream: "web", Agent: "web-0", Addresses: []record.Address{{HostPort: "10.96.0.10:80"}}, Connections: 2}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newMessageReader(bytes.NewReader(in), plan)
		var again bytes.Buffer
		var want []Message
		for {
			m, err := r.next()
			if err != nil {
				break
			}
			if err := json.NewEncoder(&again).Encode(m); err != nil {
				t.Fatal(err)
			}
			want = append(want, m)
		}
		r = newMessageReader(&again, plan)
		for i := range want {
			if fields(want[i]) != 1 {
				t.Fatalf("message %+v", want[i])
			}
			if empty(want[i]) {
				return // lists without rows are left out when encoded
			}
			if _, err := r.next(); err != nil {
				t.Fatalf("message %d is refused the second time: %v", i+1, err)
			}
		}
	})
}

func empty(m Message) bool {
	return len(m.Connections)+len(m.Open)+len(m.Tallies)+len(m.Samples) == 0 && m.Ready == nil && m.Progress == nil && m.Done == nil && m.Error == ""
}
