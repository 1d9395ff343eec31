package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

func TestWhatAgentsSendIsInTheRecord(t *testing.T) {
	var file bytes.Buffer
	w, err := record.NewWriter(&file, record.Run{ID: "d0", Scenario: "x", Start: time.Unix(1000, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	row := func(id, requests int, closed float64) record.Connection {
		return record.Connection{Stream: "web", Agent: "web-0", ID: id, Slot: id - 1, Address: "10.79.0.9:80", Requests: requests, Closed: closed, Backend: "a"}
	}
	st := &status{w: &bytes.Buffer{}}
	err = st.do("Sending load", func(p *step) error {
		sink := newLive(p, w).sink("web", "web-0")
		for _, m := range []loadgen.Message{
			{Ready: &loadgen.Ready{Now: time.Unix(1000, 0)}},
			{Open: []record.Connection{row(1, 3, 0), row(2, 4, 0)}},
			{Connections: []record.Connection{row(2, 5, 1.5)}},
			{Done: &loadgen.Done{Seconds: 2, Generator: &record.Generator{Stream: "web", Agent: "web-0", Driver: "epoll", Seconds: 2}}},
		} {
			if err := sink(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, cut, err := record.Read(&file)
	if err != nil || !cut {
		t.Fatalf("reading: %v, cut %v", err, cut)
	}
	if diff := cmp.Diff([]record.Connection{row(1, 3, 0), row(2, 5, 1.5)}, got.Connections); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]record.Generator{{Stream: "web", Agent: "web-0", Driver: "epoll", Seconds: 2}}, got.Generators); diff != "" {
		t.Error(diff)
	}
}
