package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// fakeEchoes are echo pods with so many connections each; negative: the pod does not answer.
type fakeEchoes struct {
	pods map[string]int
	cpu  float64

	mu    sync.Mutex
	asked int
}

func (f *fakeEchoes) EchoPods(context.Context) ([]string, error) {
	var out []string
	for pod := range f.pods {
		out = append(out, pod)
	}
	slices.Sort(out)
	return out, nil
}

func (f *fakeEchoes) AskEcho(_ context.Context, pod, path string) ([]byte, error) {
	f.mu.Lock()
	f.asked++
	f.mu.Unlock()
	n := f.pods[pod]
	if n < 0 {
		return nil, errors.New("connection refused")
	}
	var from, limit int
	if _, err := fmt.Sscanf(path, "/stats?rows=compact&from=%d&limit=%d", &from, &limit); err != nil {
		return nil, err
	}
	rows := echo.Rows{Pod: pod, Seconds: time.Since(time.Unix(946684800, 0)).Seconds(), Requests: uint64(2 * n), Connections: uint64(n), Rows: []echo.Row{}}
	rows.CPUSeconds, rows.CPULimit = f.cpu, 0.5
	for i := from; i < min(from+limit, n); i++ {
		rows.Rows = append(rows.Rows, echo.Row{Connection: uint64(i + 1), Client: fmt.Sprintf("10.0.0.1:%d", i+1), Protocol: "HTTP/1.1", Requests: 2})
	}
	if from+limit < n {
		rows.Next = from + limit
	}
	return json.Marshal(rows)
}

func TestServersSayWhatTheyCountedAndUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeEchoes{pods: map[string]int{"echo-b": 2, "echo-a": 0}, cpu: 1}
		s := newServers(f)
		start := time.Now().Add(time.Second)
		if err := s.begin(t.Context(), start); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		f.cpu = 3.5
		got, problem := s.end(t.Context(), start)
		want := []record.Server{
			{Pod: "echo-a", At: 4, Seconds: 4, CPUSeconds: 2.5, CPULimit: 0.5},
			{Pod: "echo-b", At: 4, Seconds: 4, CPUSeconds: 2.5, CPULimit: 0.5, Requests: 4, Connections: 2, Rows: []record.ServerConnection{
				{Connection: 1, Client: "10.0.0.1:1", Requests: 2}, {Connection: 2, Client: "10.0.0.1:2", Requests: 2},
			}},
		}
		if diff := cmp.Diff(want, got); diff != "" || problem != "" {
			t.Errorf("%s\nproblem %q", diff, problem)
		}
	})
}

func TestServersAreReadPageByPage(t *testing.T) {
	f := &fakeEchoes{pods: map[string]int{"echo": 25_000}}
	got, problem := newServers(f).end(t.Context(), time.Now())
	if problem != "" || len(got) != 1 || len(got[0].Rows) != 25_000 || got[0].Truncated != 0 || f.asked != 3 {
		t.Fatalf("%d servers after %d questions, problem %q", len(got), f.asked, problem)
	}
	for i, row := range got[0].Rows {
		if row.Connection != uint64(i+1) {
			t.Fatalf("row %d is connection %d", i, row.Connection)
		}
	}
}

func TestServersThatDoNotAnswerAreAProblemAndNotAnError(t *testing.T) {
	f := &fakeEchoes{pods: map[string]int{"echo-a": 1, "echo-b": -1, "echo-c": 1}}
	s := newServers(f)
	if err := s.begin(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
	got, problem := s.end(t.Context(), time.Now())
	if len(got) != 2 || !strings.Contains(problem, "what 1 of 3 echo pods counted could not be read: connection refused") {
		t.Errorf("%d servers, problem %q", len(got), problem)
	}
}

func TestRowsOfServersAreBounded(t *testing.T) {
	s := newServers(&fakeEchoes{pods: map[string]int{"echo": 30_000}})
	s.rows = maxServerRows - 15_000
	got, _ := s.end(t.Context(), time.Now())
	if len(got) != 1 || len(got[0].Rows) != 20_000 || got[0].Truncated != 10_000 {
		t.Errorf("%+v", got[0].Truncated)
	}
}
