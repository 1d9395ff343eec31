package report_test

import (
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/report"
)

func TestALiveFrameShowsSharesPerPod(t *testing.T) {
	got := report.LiveFrame(report.Live{Seconds: 3.2, Streams: []report.LiveStream{{
		Name: "web", Requests: 12345, Errors: 5, Connections: 4, Backends: map[string]int{"echo-b": 9255, "echo-a": 3085, "echo-c": 0},
	}}}, 80, 24)
	want := []string{
		"web  12,345 requests on 4 connections in 3 s, 5 failed",
		"  echo-a  " + strings.Repeat("█", 9) + strings.Repeat(" ", 17) + "  25.0 %       3,085",
		"  echo-b  " + strings.Repeat("█", 26) + "  75.0 %       9,255",
		"  echo-c  " + strings.Repeat(" ", 26) + "   0.0 %           0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

func TestALiveFrameFitsEveryTerminal(t *testing.T) {
	backends := map[string]int{"\x1b[31mred\nname": 7, "名前の長いポッド-7d9c5b8f6d-abcde": 1}
	for i := range 60 {
		backends[strings.Repeat("a-very-long-name-", 5)+string(rune('a'+i%26))+strings.Repeat("z", i)] = i * i
	}
	live := report.Live{Seconds: 1, Streams: []report.LiveStream{{Name: "web", Requests: 1e9, Backends: backends}, {Name: "other", Backends: backends}}}
	for _, size := range [][2]int{{80, 24}, {20, 5}, {200, 100}, {1, 1}, {0, 0}, {39, 300}} {
		lines := report.LiveFrame(live, size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if w := (displaywidth.Options{}).String(line); w > size[0] || strings.ContainsAny(line, "\x1b\n\r") {
				t.Errorf("%v: a line of %d columns: %q", size, w, line)
			}
		}
	}
}
