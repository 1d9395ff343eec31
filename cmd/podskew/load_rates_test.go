package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/record"
)

func TestChangesOfARateAreRead(t *testing.T) {
	got, err := rateSteps([]string{"5s:200", "1m30s:0.5:ramp"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]record.RateStep{{At: 5, Rate: 200}, {At: 90, Rate: 0.5, Ramp: true}}, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "5s", "200", "5s:", "5s:x", "5:200", "5s:200:jump", "5s:200:"} {
		if steps, err := rateSteps([]string{text}); err == nil {
			t.Errorf("%q is taken for %+v", text, steps)
		}
	}
}
