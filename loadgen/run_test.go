package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podskew/podskew/record"
)

func TestKeepAliveConnectionsLastAsLongAsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(c, _ int) answer {
			return answer{after: 100 * time.Millisecond, raw: by(fmt.Sprintf("echo-%d", c))}
		}}
		plan := planOf(func(p *Plan) { p.Connections, p.Duration = 3, 2*time.Second })
		got := f.execute(t.Context(), t, plan)
		for i, row := range got.byID() {
			want := record.Connection{
				Stream: "web", Agent: "web-0", ID: i + 1, Slot: row.Slot, Address: "10.96.0.10:80", Local: "pipe", Closed: 2,
				Requests: 20, Backend: row.Backend, Observed: "10.0.0.9:4000", ServerConn: 1,
			}
			if diff := cmp.Diff(want, row); diff != "" {
				t.Errorf("row %d (-want +got):\n%s", i+1, diff)
			}
		}
		if diff := cmp.Diff(map[string]int{"0": 30, "1": 30}, got.sum(bySecond)); diff != "" {
			t.Errorf("requests by second (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"echo-1": 20, "echo-2": 20, "echo-3": 20}, got.sum(byBackend)); diff != "" {
			t.Errorf("requests by backend (-want +got):\n%s", diff)
		}
		for _, tally := range got.tallies {
			if q := tally.Latency.Quantile(1); q < 0.1 || q > 0.101 || tally.Observed != "10.0.0.9" || len(tally.Errors) > 0 {
				t.Errorf("tally %+v", tally)
			}
		}
		if len(got.samples) != 60 || got.done.SampleStride != 1 {
			t.Errorf("%d samples at a stride of %d, want all 60", len(got.samples), got.done.SampleStride)
		}
		if diff := cmp.Diff(&Done{Seconds: 2, SampleStride: 1}, got.done, cmpopts.IgnoreFields(Done{}, "Generator")); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		if len(got.progress) < 8 {
			t.Errorf("%d messages of progress in 2 s", len(got.progress))
		}
	})
}

func TestTheEndWaitsForOutstandingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{after: 700 * time.Millisecond, raw: by("slow")} }}
		got := f.execute(t.Context(), t, planOf(nil))
		if diff := cmp.Diff(map[string]int{"slow": 2}, got.sum(byBackend)); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if got.done.Seconds != 1.4 || got.rows[0].Closed != 1.4 {
			t.Errorf("ended at %v, its connection at %v, want 1.4", got.done.Seconds, got.rows[0].Closed)
		}
	})
}

func TestAnOutstandingAnswerIsWaitedForUpToTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{never: true} }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Duration, p.Timeout = time.Second, 1500*time.Millisecond }))
		if got.done.Seconds != 1.5 || got.rows[0].Error != record.ErrTimeout {
			t.Errorf("ended at %v with %+v", got.done.Seconds, got.rows)
		}
	})
}

func TestAConnectionBegunInTimeLearnsItsBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{dialing: func(context.Context, int) error { time.Sleep(900 * time.Millisecond); return nil }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Duration, p.RequestsPerConnection = time.Second, 1 }))
		want := []record.Connection{
			{Connected: 0.9, Closed: 0.9, Requests: 1, Backend: "echo-1"},
			{Opened: 0.9, Connected: 1.8, Closed: 1.8, Requests: 1, Backend: "echo-2"},
		}
		if diff := cmp.Diff(want, essence(got.byID())); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// essence leaves out what rows of a test have in common.
func essence(rows []record.Connection) []record.Connection {
	var out []record.Connection
	for _, r := range rows {
		out = append(out, record.Connection{
			Opened: r.Opened, Connected: r.Connected, Closed: r.Closed, Requests: r.Requests, Backend: r.Backend,
			Others: r.Others, Error: r.Error, ErrorDetail: r.ErrorDetail,
		})
	}
	return out
}

func TestACountOfRequestsIsExact(t *testing.T) {
	for name, tc := range map[string]struct {
		connections, perConnection, requests int
		want                                 []string // what the servers were asked
	}{
		"on fresh connections": {1, 1, 3, []string{"1/1 close", "2/1 close", "3/1 close"}},
		"on one connection":    {1, 0, 3, []string{"1/1", "1/2", "1/3 close"}},
		"with a remainder":     {1, 2, 5, []string{"1/1", "1/2 close", "2/1", "2/2 close", "3/1 close"}},
		"of less than slots":   {4, 0, 2, []string{"1/1 close", "2/1 close"}},
		"of one per slot":      {2, 3, 2, []string{"1/1 close", "2/1 close"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				got := f.execute(t.Context(), t, planOf(func(p *Plan) {
					p.Connections, p.RequestsPerConnection, p.Requests, p.Duration = tc.connections, tc.perConnection, tc.requests, 0
				}))
				if diff := cmp.Diff(tc.want, f.requests()); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				if got.requests() != tc.requests || len(got.errors()) > 0 {
					t.Errorf("%d requests with errors %v, want %d", got.requests(), got.errors(), tc.requests)
				}
			})
		})
	}
}

func TestRequestsAreDealtEvenlyToTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Connections, p.Requests, p.Duration = 4, 10, 0 }))
		bySlot := map[int]int{}
		for _, row := range got.rows {
			bySlot[row.Slot] += row.Requests
		}
		if diff := cmp.Diff(map[int]int{0: 3, 1: 3, 2: 2, 3: 2}, bySlot); diff != "" {
			t.Errorf("requests by slot (-want +got):\n%s", diff)
		}
	})
}

func TestSlotsDialTheAddressesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: "10.0.0.1:80"}, {HostPort: "10.0.0.2:80"}, {HostPort: "10.0.0.3:80"}}
			p.AddressOffset, p.Connections, p.Requests, p.Duration = 2, 4, 4, 0
		}))
		bySlot := map[int]string{}
		for _, row := range got.rows {
			bySlot[row.Slot] = row.Address
		}
		want := map[int]string{0: "10.0.0.3:80", 1: "10.0.0.1:80", 2: "10.0.0.2:80", 3: "10.0.0.3:80"}
		if diff := cmp.Diff(want, bySlot); diff != "" {
			t.Errorf("addresses by slot (-want +got):\n%s", diff)
		}
		byAddress := got.sum(func(t record.Tally) string { return t.Address })
		if diff := cmp.Diff(map[string]int{"10.0.0.1:80": 1, "10.0.0.2:80": 1, "10.0.0.3:80": 2}, byAddress); diff != "" {
			t.Errorf("requests by address (-want +got):\n%s", diff)
		}
	})
}

func TestARefusedTargetIsNotDialledInASpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{dialing: func(context.Context, int) error { return syscall.ECONNREFUSED }}
		got := f.execute(t.Context(), t, planOf(nil))
		// At 0, 1, 3, 7, 15, 31, 63 and 127 ms, and from then on every 100 ms up to 927.
		if len(got.rows) != 16 || got.errors()[record.ErrRefused] != 16 || got.requests() != 16 {
			t.Errorf("%d dials, errors %v, want 16", len(got.rows), got.errors())
		}
		if got.done.Seconds != 1 {
			t.Errorf("ended at %v, want 1", got.done.Seconds)
		}
	})
}

func TestAnAnswerEndsThePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(_, n int) answer {
			if n == 1 {
				return answer{raw: by("a")}
			}
			return answer{end: true}
		}}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Duration = 100 * time.Millisecond }))
		if len(got.rows) != 100 { // one every millisecond, the first pause
			t.Errorf("%d connections in 100 ms, want 100", len(got.rows))
		}
	})
}

func TestAFailedDialTakesARequestsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{dialing: func(_ context.Context, n int) error {
			if n%2 == 0 {
				return syscall.ECONNREFUSED
			}
			return nil
		}}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration, p.RequestsPerConnection = 5, 0, 1 }))
		if got.requests() != 5 || len(got.rows) != 5 || got.errors()[record.ErrRefused] != 2 {
			t.Errorf("%d requests on %d connections, errors %v", got.requests(), len(got.rows), got.errors())
		}
	})
}

func TestFailuresAreToldApart(t *testing.T) {
	never := answer{never: true}
	for name, tc := range map[string]struct {
		dialing func(ctx context.Context, n int) error
		answer  func(c, n int) answer
		n       int               // requests
		lasts   time.Duration     // instead of n
		want    record.Connection // the first row
		errors  map[record.ErrorKind]int
	}{
		"a dial that nobody answers": {
			n:       1,
			dialing: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() },
			want:    record.Connection{Closed: 1, Error: record.ErrTimeout, ErrorDetail: "context deadline exceeded"},
			errors:  map[record.ErrorKind]int{record.ErrTimeout: 1},
		},
		"a request that nobody answers": {
			lasts: 700 * time.Millisecond,
			answer: func(_, n int) answer {
				if n < 3 {
					return answer{after: 300 * time.Millisecond, raw: by("a")}
				}
				return never
			},
			// The deadline set for the first request passes at 2 s; the third one was sent at 0.6 s.
			want:   record.Connection{Closed: 2.6, Requests: 2, Backend: "a", Error: record.ErrTimeout, ErrorDetail: "no answer within the timeout"},
			errors: map[record.ErrorKind]int{record.ErrTimeout: 1},
		},
		"half an answer": {
			n:      1,
			answer: func(int, int) answer { return answer{raw: by("a")[:40], end: true} },
			want:   record.Connection{Error: record.ErrReset, ErrorDetail: "the peer closed the connection in the middle of its answer"},
			errors: map[record.ErrorKind]int{record.ErrReset: 1},
		},
		"a close instead of an answer": {
			n: 2,
			answer: func(_, n int) answer {
				if n == 1 {
					return answer{raw: by("a")}
				}
				return answer{end: true}
			},
			want:   record.Connection{Requests: 1, Backend: "a", Error: record.ErrReset, ErrorDetail: "the peer closed the connection instead of answering"},
			errors: map[record.ErrorKind]int{record.ErrReset: 1},
		},
		"something that is not HTTP": {
			n:      1,
			answer: func(int, int) answer { return answer{raw: "220 mail ESMTP ready\r\n"} },
			want:   record.Connection{Error: record.ErrParse, ErrorDetail: "the answer does not begin with an HTTP/1 status line"},
			errors: map[record.ErrorKind]int{record.ErrParse: 1},
		},
		"bytes behind the answer": {
			n:      2, // on the last one, the server's closing would be awaited
			answer: func(int, int) answer { return answer{raw: by("a") + "x"} },
			want:   record.Connection{Requests: 1, Backend: "a", Error: record.ErrParse, ErrorDetail: "the server sent more than its answer"},
			errors: map[record.ErrorKind]int{},
		},
		"a pod without a name": {
			n:      1,
			answer: func(int, int) answer { return answer{raw: by("a b")} },
			want:   record.Connection{Error: record.ErrParse, ErrorDetail: "the name of the pod is not one"},
			errors: map[record.ErrorKind]int{record.ErrParse: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{dialing: tc.dialing, answer: tc.answer}
				got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = tc.n, tc.lasts }))
				row := essence(got.byID())[0]
				row.Connected = 0
				if diff := cmp.Diff(tc.want, row); diff != "" {
					t.Errorf("row (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.errors, got.errors()); diff != "" {
					t.Errorf("errors (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAStatusIsAnErrorOfTheRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(_, n int) answer {
			if n == 2 {
				return answer{raw: strings.Replace(by("a"), "200 OK", "503 Service Unavailable", 1)}
			}
			return answer{raw: by("a")}
		}}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 3, 0 }))
		if row := got.rows[0]; row.Requests != 3 || row.Error != "" || len(got.rows) != 1 {
			t.Errorf("rows %+v", got.rows)
		}
		want := []record.Tally{{Stream: "web", Agent: "web-0", Address: "10.96.0.10:80", Backend: "a", Observed: "10.0.0.9", Requests: 3, Connections: 1,
			Errors: map[record.ErrorKind]int{record.ErrStatus: 1}, Latency: record.Histogram{Buckets: []record.Bucket{{Index: 0, Count: 3}}}}}
		if diff := cmp.Diff(want, got.tallies); diff != "" {
			t.Errorf("tallies (-want +got):\n%s", diff)
		}
	})
}

func TestAnotherBackendOnTheSameConnectionIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pods := []string{"a", "b", "b", "a", "c"}
		f := &fake{answer: func(_, n int) answer {
			return answer{raw: reply200(pods[n-1], fmt.Sprintf("10.0.0.%d:1", n), n)}
		}}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 5, 0 }))
		row := got.rows[0]
		if row.Backend != "a" || row.Observed != "10.0.0.1:1" || row.ServerConn != 1 || row.Requests != 5 {
			t.Errorf("row %+v", row)
		}
		if diff := cmp.Diff(map[string]int{"b": 2, "c": 1}, row.Others); diff != "" {
			t.Errorf("others (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"a": 2, "b": 2, "c": 1}, got.sum(byBackend)); diff != "" {
			t.Errorf("requests by backend (-want +got):\n%s", diff)
		}
		if n := len(got.sum(func(t record.Tally) string { return t.Observed })); n != 5 {
			t.Errorf("%d observed sources, want 5", n)
		}
	})
}

func TestAServerMayCloseAfterAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer {
			return answer{raw: strings.Replace(by("a"), "\r\n", "\r\nConnection: close\r\n", 1), end: true}
		}}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 3, 0 }))
		if len(got.rows) != 3 || len(got.errors()) > 0 || got.rows[0].Error != "" {
			t.Errorf("rows %+v", got.rows)
		}
	})
}

func TestAServerThatDoesNotCloseIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{raw: by("a"), stays: true} }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 1, 0 }))
		if diff := cmp.Diff([]record.Connection{{Closed: 1, Requests: 1, Backend: "a"}}, essence(got.rows)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

func TestAnswersWithoutAttributionAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"} }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 2, 0 }))
		want := []string{"web-0: 2 answers did not say which pod they are of: something else than an echo pod answered, or a hop removes headers"}
		if diff := cmp.Diff(want, got.done.Problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	})
}

func TestTheClientsOwnLimitsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{dialing: func(context.Context, int) error { return syscall.EADDRNOTAVAIL }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Requests, p.Duration = 2, 0 }))
		if len(got.done.Problems) != 1 || !strings.HasPrefix(got.done.Problems[0], "web-0: 2 connections could not be opened for want of local ports") {
			t.Errorf("problems %q", got.done.Problems)
		}
		if got.errors()[record.ErrOther] != 2 {
			t.Errorf("errors %v", got.errors())
		}
	})
}

func TestAnInterruptedRunKeepsItsRows(t *testing.T) {
	for name, tc := range map[string]struct {
		with   func(p *Plan)
		fake   *fake
		ends   float64
		rows   int
		errors map[record.ErrorKind]int
	}{
		"while answers are outstanding": {
			fake: &fake{answer: func(_, n int) answer {
				if n == 1 {
					return answer{raw: by("a")}
				}
				return answer{never: true}
			}},
			ends: 1, rows: 2, errors: map[record.ErrorKind]int{record.ErrOther: 2},
		},
		"while an answer is about to come": {
			fake: &fake{answer: func(int, int) answer { return answer{after: 600 * time.Millisecond, raw: by("a")} }},
			ends: 0.6, rows: 2, errors: map[record.ErrorKind]int{},
		},
		"while it dials": {
			fake: &fake{dialing: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }},
			ends: 1, rows: 2, errors: map[record.ErrorKind]int{record.ErrOther: 2},
		},
		"while it pauses": {
			fake: &fake{dialing: func(context.Context, int) error { return syscall.ECONNREFUSED }},
			ends: 0.5, rows: 22, errors: map[record.ErrorKind]int{record.ErrRefused: 22}, // at 0, 1, 3, 7, 15, 31, 63, 127, 227, 327 and 427 ms
		},
		"before it began": {
			with: func(p *Plan) { p.Start = p.Start.Add(time.Hour) },
			fake: &fake{}, ends: -3599.5, errors: map[record.ErrorKind]int{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				plan := planOf(func(p *Plan) {
					p.Connections, p.Duration, p.Timeout, p.ConnectTimeout = 2, time.Minute, time.Minute, time.Minute
				})
				if tc.with != nil {
					tc.with(&plan)
				}
				got := tc.fake.execute(ctx, t, plan)
				if !got.done.Interrupted || got.done.Seconds != tc.ends || len(got.rows) != tc.rows {
					t.Errorf("done %+v with %d rows, want the end at %v with %d rows", got.done, len(got.rows), tc.ends, tc.rows)
				}
				if diff := cmp.Diff(tc.errors, got.errors()); diff != "" {
					t.Errorf("errors (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAPlanThatComesLateSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{after: 500 * time.Millisecond, raw: by("a")} }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Start, p.Duration = p.Start.Add(-3*time.Second), 4*time.Second }))
		want := []string{"web-0: the plan came 3.0 s after its start, or the clocks differ: the load began late"}
		if diff := cmp.Diff(want, got.done.Problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]int{"3": 2}, got.sum(bySecond)); diff != "" {
			t.Errorf("requests by second (-want +got):\n%s", diff)
		}
	})
}

func TestEverythingWaitsForTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Start, p.Requests, p.Duration = p.Start.Add(3*time.Second), 1, 0 }))
		if got.rows[0].Opened != 0 || got.done.Seconds != 0 {
			t.Errorf("opened at %v, ended at %v, want 0", got.rows[0].Opened, got.done.Seconds)
		}
		if first := got.progress[0]; first.Seconds != -2.75 {
			t.Errorf("the first progress is of %v, want -2.75", first.Seconds)
		}
	})
}

func TestTalliesOfSecondsGoneByCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{after: 400 * time.Millisecond, raw: by("a")} }}
		plan := planOf(func(p *Plan) { p.Duration = 3 * time.Second })
		err := execute(t.Context(), plan, func(m Message) error {
			now := time.Since(plan.Start)
			for _, tally := range m.Tallies {
				if second := time.Duration(tally.Second) * time.Second; now < second+time.Second {
					t.Errorf("at %s there is a tally of second %d", now, tally.Second)
				}
			}
			return nil
		}, f.world())
		if err != nil {
			t.Error(err)
		}
	})
}

func TestASinkThatFailsEndsTheRun(t *testing.T) {
	for name, fails := range map[string]func(Message) bool{
		"at once":     func(m Message) bool { return m.Ready != nil },
		"on progress": func(m Message) bool { return m.Progress != nil },
		"on rows":     func(m Message) bool { return m.Connections != nil },
		"on tallies":  func(m Message) bool { return m.Tallies != nil },
		"at the end":  func(m Message) bool { return m.Done != nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: func(int, int) answer { return answer{after: time.Millisecond, raw: by("a")} }}
				plan := planOf(func(p *Plan) { p.RequestsPerConnection, p.Duration = 2, 3*time.Second })
				err := execute(t.Context(), plan, func(m Message) error {
					if fails(m) {
						return io.ErrShortWrite
					}
					return nil
				}, f.world())
				if !errors.Is(err, io.ErrShortWrite) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestASlowSinkHoldsTheLoadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		r := &results{}
		slept := false
		small := f.world()
		small.backlog = 100
		sink := r.sink(t)
		plan := planOf(func(p *Plan) { p.RequestsPerConnection, p.Requests, p.Duration = 1, 2000, 0 })
		err := execute(t.Context(), plan, func(m Message) error {
			if m.Connections != nil && !slept {
				slept = true
				time.Sleep(10 * time.Second)
			}
			return sink(m)
		}, small)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"web-0: connections waited 10.0 s in all because results were not taken as fast as they came: the load was lower than it could be"}
		if diff := cmp.Diff(want, r.done.Problems); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
		if len(r.rows) != 2000 {
			t.Errorf("%d rows", len(r.rows))
		}
	})
}

func TestSamplesAreThinnedEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(int, int) answer { return answer{after: time.Millisecond, raw: by("a")} }}
		got := f.execute(t.Context(), t, planOf(func(p *Plan) { p.Connections, p.Requests, p.Duration, p.SampleCap = 4, 8000, 0, 1000 }))
		stride := got.done.SampleStride
		if stride != 8 && stride != 16 || len(got.samples) > 1000 || len(got.samples)*stride < 8000/2 {
			t.Errorf("%d samples at a stride of %d of 8000 requests", len(got.samples), stride)
		}
		// The connections answer in turn: keeping every 8th would keep one connection's.
		byConnection, firstHalf := map[int]int{}, 0
		for _, s := range got.samples {
			byConnection[s.Connection]++
			if s.Sent < 1 {
				firstHalf++
			}
		}
		for id, n := range byConnection {
			if n < len(got.samples)/8 {
				t.Errorf("%d of %d samples are of connection %d", n, len(got.samples), id)
			}
		}
		if len(byConnection) != 4 || firstHalf < len(got.samples)/3 || firstHalf > len(got.samples)*2/3 {
			t.Errorf("samples by connection %v, %d of %d in the first half", byConnection, firstHalf, len(got.samples))
		}
	})
}

func TestPlansThatMakeNoSenseAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		with func(p *Plan)
		want string
	}{
		"no run":            {func(p *Plan) { p.Run = "" }, `plan: run: "": want 1 to 253 characters without blanks`},
		"no start":          {func(p *Plan) { p.Start = time.Time{} }, "plan: start is missing"},
		"no address":        {func(p *Plan) { p.Addresses = nil }, "plan: 0 addresses: want 1 to 10000"},
		"no port":           {func(p *Plan) { p.Addresses[0].HostPort = "10.0.0.1" }, `plan: address "10.0.0.1": want host:port`},
		"port 0":            {func(p *Plan) { p.Addresses[0].HostPort = "10.0.0.1:0" }, `plan: address "10.0.0.1:0": port "0": want 1 to 65535`},
		"a smuggled header": {func(p *Plan) { p.Path = "/ HTTP/1.1\r\nX: y" }, `plan: path "/ HTTP/1.1\r\nX: y": want / and up to 2048 characters without blanks`},
		"a smuggled host":   {func(p *Plan) { p.Host = "a\r\nX: y" }, `plan: host "a\r\nX: y": want a name without blanks`},
		"no protocol":       {func(p *Plan) { p.Protocol = "" }, `plan: protocol "": want one of http1, http2, grpc, websocket, tcp, udp`},
		"no connections":    {func(p *Plan) { p.Connections = 0 }, "plan: connections: 0: want 1 to 100000"},
		"no end":            {func(p *Plan) { p.Duration = 0 }, "plan: want requests or duration, one of them"},
		"two ends":          {func(p *Plan) { p.Requests = 1 }, "plan: want requests or duration, one of them"},
		"no timeout":        {func(p *Plan) { p.Timeout = 0 }, "plan: timeout: 0s: want more than 0 and up to 10m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Run(t.Context(), planOf(tc.with), func(Message) error { t.Error("it ran"); return nil })
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
