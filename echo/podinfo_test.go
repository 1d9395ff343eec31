package echo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// volume is a Downward API volume as the kubelet keeps it: a folder per version, the link ..data to the current one, and
// a link per file through that.
type volume struct {
	t        *testing.T
	dir      string
	versions int
}

func newVolume(t *testing.T) *volume {
	t.Helper()
	return &volume{t: t, dir: t.TempDir()}
}

// write brings a new version in one step, and removes the old one, as the kubelet's AtomicWriter does.
func (v *volume) write(files map[string]string) {
	v.t.Helper()
	v.versions++
	version := fmt.Sprintf("..2026_11_21_00_00_00.%09d", v.versions)
	v.must(os.Mkdir(filepath.Join(v.dir, version), 0o755))
	for name, text := range files {
		v.must(os.WriteFile(filepath.Join(v.dir, version, name), []byte(text), 0o644))
	}
	old, _ := os.Readlink(filepath.Join(v.dir, dataLink))
	v.must(os.Symlink(version, filepath.Join(v.dir, "..data_tmp")))
	v.must(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, dataLink)))
	for name := range files {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(v.dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			v.t.Fatal(err)
		}
	}
	if old != "" {
		v.must(os.RemoveAll(filepath.Join(v.dir, old)))
	}
}

func (v *volume) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// following starts to follow info and returns a channel that is told of each change.
func following(t *testing.T, info *podInfo) <-chan struct{} {
	t.Helper()
	changes := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		info.follow(ctx, func() { changes <- struct{}{} }, func(err error) { t.Errorf("degraded: %v", err) })
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return changes
}

// within waits for the next change until cond holds.
func within(t *testing.T, changes <-chan struct{}, cond func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-changes:
		case <-limit:
			t.Fatal("no change noticed in 20 s")
		}
	}
}

func TestPodInfoFollowsTheKubeletsSwap(t *testing.T) {
	v := newVolume(t)
	v.write(map[string]string{"labels": "app=\"echo\"", "annotations": "note=\"a\\nb\""})
	info := newPodInfo(v.dir)
	got := *info.current.Load()
	if diff := cmp.Diff(PodInfo{
		Labels: map[string]string{"app": "echo"}, Annotations: map[string]string{"note": "a\nb"},
		Unknown: []string{}, Generation: 1, Read: got.Read,
	}, got); diff != "" {
		t.Fatalf("first reading (-want +got):\n%s", diff)
	}
	changes := following(t, info)
	for i := range 20 {
		zone := fmt.Sprintf("zone-%d", i)
		v.write(map[string]string{"labels": formatMap(map[string]string{"app": "echo", zoneLabel: zone}), "annotations": ""})
		within(t, changes, func() bool { return info.zone() == zone })
	}
	if got := info.current.Load(); got.Generation < 2 || got.Generation > 21 {
		t.Errorf("generation %d after 20 changes, want 2 to 21", got.Generation)
	}
}

func TestASwapWithoutADifferenceIsNoChange(t *testing.T) {
	v := newVolume(t)
	v.write(map[string]string{"labels": "a=\"1\""})
	info := newPodInfo(v.dir)
	v.write(map[string]string{"labels": "a=\"1\""})
	if info.refresh() {
		t.Error("the same labels count as a change")
	}
	v.write(map[string]string{"labels": "a=\"2\""})
	if !info.refresh() {
		t.Error("other labels do not")
	}
}

func TestPlainFilesAreFollowedToo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "labels")
	if err := os.WriteFile(path, []byte(`a="1"`), 0o600); err != nil {
		t.Fatal(err)
	}
	info := newPodInfo(dir)
	changes := following(t, info)
	if err := os.WriteFile(path, []byte(`a="2"`), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, changes, func() bool { return info.current.Load().Labels["a"] == "2" })
}

func TestWhatCannotBeReadIsUnknown(t *testing.T) {
	volumeOf := func(files map[string]string) string {
		v := newVolume(t)
		v.write(files)
		return v.dir
	}
	dangling := t.TempDir()
	if err := os.Symlink("..gone", filepath.Join(dangling, dataLink)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		want      []string
	}{
		{"no volume", "", []string{"annotations", "labels"}},
		{"a folder that is not there", t.TempDir() + "/none", []string{"annotations", "labels"}},
		{"labels only", volumeOf(map[string]string{"labels": ""}), []string{"annotations"}},
		{"a link to nowhere", dangling, []string{"annotations", "labels"}},
		{
			"a file that is too large",
			volumeOf(map[string]string{"labels": "a=\"" + strings.Repeat("x", maxMapFile) + "\"", "annotations": ""}),
			[]string{"labels"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, newPodInfo(test.dir).current.Load().Unknown); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutNotificationsTheVolumeIsPolled(t *testing.T) {
	v := newVolume(t)
	v.write(map[string]string{"labels": "a=\"1\""})
	synctest.Test(t, func(t *testing.T) {
		info := newPodInfo(v.dir)
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan struct{}, 10)
		go info.poll(ctx, func() { changed <- struct{}{} })
		v.write(map[string]string{"labels": "a=\"2\""})
		time.Sleep(podInfoPoll - time.Nanosecond)
		synctest.Wait()
		if len(changed) != 0 {
			t.Error("read before its time")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := info.current.Load().Labels["a"]; got != "2" || len(changed) != 1 {
			t.Errorf("label %q after %d changes, want 2 after 1", got, len(changed))
		}
		cancel()
		synctest.Wait()
	})
}

func TestAVolumeThatCannotBeWatchedIsReportedOnce(t *testing.T) {
	info := newPodInfo(t.TempDir() + "/none")
	ctx, cancel := context.WithCancel(t.Context())
	reported := 0
	info.follow(ctx, func() {}, func(error) { reported++; cancel() })
	if reported != 1 {
		t.Errorf("reported %d times, want once", reported)
	}
}
