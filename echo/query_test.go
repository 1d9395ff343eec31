package echo

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseWishes(t *testing.T) {
	plain := wishes{status: 200, fail: -1}
	tests := []struct {
		name, query string
		want        wishes
		wrong       bool
	}{
		{name: "nothing", want: plain},
		{name: "parameters of others", query: "x=1&nocache", want: plain},
		{name: "everything", query: "delay=50ms&status=418&fail=0.25&close=true&size=1048576", want: wishes{50 * time.Millisecond, 418, 0.25, true, MaxSize}},
		{name: "a share alone fails with 503", query: "fail=0.1", want: wishes{status: 503, fail: 0.1}},
		{name: "the longest delay", query: "delay=1m", want: wishes{delay: time.Minute, status: 200, fail: -1}},
		{name: "a longer delay", query: "delay=61s", wrong: true},
		{name: "a delay backwards", query: "delay=-1s", wrong: true},
		{name: "a delay without a unit", query: "delay=50", wrong: true},
		{name: "an interim status", query: "status=100", wrong: true},
		{name: "a status beyond", query: "status=600", wrong: true},
		{name: "a share in per cent", query: "fail=10", wrong: true},
		{name: "a share that is no number", query: "fail=NaN", wrong: true},
		{name: "a size beyond", query: "size=1048577", wrong: true},
		{name: "a negative size", query: "size=-1", wrong: true},
		{name: "a close that is neither", query: "close=maybe", wrong: true},
		{name: "no query at all", query: "%zz", wrong: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseWishes(test.query)
			if (err != nil) != test.wrong {
				t.Fatalf("error %v, want one: %v", err, test.wrong)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(wishes{})); diff != "" && !test.wrong {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzParseWishes: what is accepted keeps within the bounds.
func FuzzParseWishes(f *testing.F) {
	f.Add("delay=50ms&status=503&fail=0.1&close=1&size=10")
	f.Add("delay=1e3h&fail=+Inf&status=0200")
	f.Fuzz(func(t *testing.T, query string) {
		w, err := parseWishes(query)
		if err != nil {
			return
		}
		if w.delay < 0 || w.delay > MaxDelay || w.status < 200 || w.status > 599 || w.size < 0 || w.size > MaxSize ||
			!(w.fail == -1 || w.fail >= 0 && w.fail <= 1) {
			t.Errorf("%q gives %+v", query, w)
		}
	})
}
