package cri

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// testLog is a log whose time stands still.
func testLog(t *testing.T) *logFile {
	t.Helper()
	l, err := openLog(filepath.Join(t.TempDir(), "0.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }
	return l
}

// entries returns the log without the time, which it checks.
func entries(t *testing.T, l *logFile) []string {
	t.Helper()
	data, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(line, "2026-01-02T03:04:05.000000006Z ")
		if !ok {
			t.Errorf("entry %q does not start with the time", line)
		}
		got = append(got, strings.TrimSuffix(rest, "\n"))
	}
	return got
}

func TestLogLines(t *testing.T) {
	long := strings.Repeat("x", maxLogLine)
	for name, test := range map[string]struct {
		writes []string
		want   []string
	}{
		"nothing":                            {nil, nil},
		"a line":                             {[]string{"a\n"}, []string{"stdout F a"}},
		"an empty line":                      {[]string{"\n"}, []string{"stdout F "}},
		"two lines in one write":             {[]string{"a\nb\n"}, []string{"stdout F a", "stdout F b"}},
		"a line in pieces":                   {[]string{"a", "b", "", "c\n"}, []string{"stdout F abc"}},
		"the end without a newline":          {[]string{"a\nb"}, []string{"stdout F a", "stdout F b"}},
		"a line of the maximum is whole":     {[]string{long + "\n"}, []string{"stdout F " + long}},
		"the same in pieces":                 {[]string{long, "\n"}, []string{"stdout F " + long}},
		"a longer line is split":             {[]string{long + "yz\n"}, []string{"stdout P " + long, "stdout F yz"}},
		"a longer line in pieces":            {[]string{long[1:], "xy", "z\n"}, []string{"stdout P " + long, "stdout F yz"}},
		"twice the maximum has no third":     {[]string{long + long + "\n"}, []string{"stdout P " + long, "stdout F " + long}},
		"carriage returns are part of lines": {[]string{"a\r\n"}, []string{"stdout F a\r"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := testLog(t)
			s := &lineSplitter{entry: l.entry, stream: "stdout"}
			for _, w := range test.writes {
				if n, err := s.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("write of %d bytes: %d, %v", len(w), n, err)
				}
			}
			s.flush()
			if diff := cmp.Diff(test.want, entries(t, l)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzLogLines(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1), uint16(3))
	f.Add(bytes.Repeat([]byte("x"), 2*maxLogLine+5), uint16(maxLogLine), uint16(7))
	f.Fuzz(func(t *testing.T, text []byte, first, step uint16) {
		var got []byte
		s := &lineSplitter{entry: func(_ string, partial bool, piece []byte) {
			if len(piece) > maxLogLine || bytes.IndexByte(piece, '\n') >= 0 {
				t.Errorf("an entry is %q", piece)
			}
			got = append(got, piece...)
			if !partial {
				got = append(got, '\n')
			}
		}}
		rest := text
		for n := int(first); len(rest) > 0; n = int(step) + 1 {
			n = min(n, len(rest))
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		s.flush()
		want := text
		if len(text) > 0 && text[len(text)-1] != '\n' {
			want = append(bytes.Clone(text), '\n')
		}
		if !bytes.Equal(got, want) {
			t.Errorf("reading back gives %q, want %q", got, want)
		}
	})
}

func TestLogRotation(t *testing.T) {
	l := testLog(t)
	l.entry("stdout", false, []byte("first"))
	old := l.path + ".1"
	if err := os.Rename(l.path, old); err != nil {
		t.Fatal(err)
	}
	l.entry("stdout", false, []byte("still first"))
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.entry("stdout", false, []byte("second"))
	if diff := cmp.Diff([]string{"stdout F second"}, entries(t, l)); diff != "" {
		t.Errorf("new file (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(old)
	if err != nil || strings.Count(string(data), "first") != 2 {
		t.Errorf("old file: %q, %v", data, err)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := testLog(t)
	l.limit = 200
	for i := range 10 {
		l.entry("stdout", false, fmt.Appendf(nil, "line %d", i))
	}
	full := entries(t, l)
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.entry("stdout", false, []byte("after"))
	if diff := cmp.Diff([]string{"stdout F after"}, entries(t, l)); diff != "" {
		t.Errorf("after the rotation (-want +got):\n%s", diff)
	}
	l.path += ".1"
	dropped := 10 - len(full)
	want := append(full, fmt.Sprintf("stderr F [podskew-lab: %d log lines dropped, the log was full]", dropped))
	if diff := cmp.Diff(want, entries(t, l)); diff != "" || dropped == 0 {
		t.Errorf("%d dropped; the full file (-want +got):\n%s", dropped, diff)
	}
}

func TestLogWithoutPathDiscards(t *testing.T) {
	l, err := openLog("")
	if err != nil {
		t.Fatal(err)
	}
	l.entry("stdout", false, []byte("x"))
	if err := l.reopen(); err != nil {
		t.Error(err)
	}
	l.close()
}

func TestRuntimeLogs(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, labelled(containerConfig("exit", "0"), "both"))
	h.exited(id)
	got := h.logLines(id)
	if len(got) != 2 || !strings.Contains(strings.Join(got, "|"), "stdout F leaving") || !strings.Contains(strings.Join(got, "|"), "stderr F with complaints") {
		t.Errorf("log is %q", got)
	}

	id = h.start(pod, labelled(containerConfig("flood", "1000000"), "flood"))
	h.exited(id)
	if n := len(h.logLines(id)); n != 10_000 {
		t.Errorf("%d of 10000 lines are there when the container has ended", n)
	}

	id = h.start(pod, labelled(containerConfig("wait"), "rotated"))
	h.waitLog(id, "waiting")
	path := h.status(id).LogPath
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 20}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"stdout F got terminated"}, h.logLines(id)); diff != "" {
		t.Errorf("the new log (-want +got):\n%s", diff)
	}
	if _, err := h.client.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err == nil {
		t.Error("the log of an ended container is reopened")
	}
}
