package launch

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cluster"
)

func TestClaimRunDir(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    error // nil: the directory can be claimed
	}{
		{"a path that does not exist can be claimed", func(*testing.T, string) {}, nil},
		{"an empty directory can be claimed", mkdir, nil},
		{"what a killed lab has left can be claimed", func(t *testing.T, path string) {
			t.Helper()
			mkdir(t, path)
			write(t, path, boot.LockFile, "999999999")
			write(t, path, "kubeconfig", "a key")
			write(t, path, "logs/etcd.log", "text")
		}, nil},
		{"a directory with other files cannot", func(t *testing.T, path string) {
			t.Helper()
			mkdir(t, path)
			write(t, path, "thesis.tex", "years of work")
		}, ErrNotRunDir},
		{"a file cannot", func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrNotRunDir},
		{"a link to a directory cannot", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Symlink(t.TempDir(), path); err != nil {
				t.Fatal(err)
			}
		}, ErrNotRunDir},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new", "run")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			tt.prepare(t, path)
			dir, err := claimRunDir(t.Context(), path)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			if err == nil {
				checkClaimed(t, dir)
			}
		})
	}
}

// checkClaimed looks at a directory that was just claimed, and removes it.
func checkClaimed(t *testing.T, dir *runDir) {
	t.Helper()
	entries, err := os.ReadDir(dir.path)
	if err != nil || len(entries) != 1 || entries[0].Name() != boot.LockFile {
		t.Errorf("holds %v, %v; want the lock only", entries, err)
	}
	info, err := os.Stat(dir.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := lockOwner(dir.path); got != os.Getpid() {
		t.Errorf("the lock names process %d", got)
	}
	if _, err := claimRunDir(t.Context(), dir.path); !errors.Is(err, ErrRunning) {
		t.Errorf("claiming it again: %v", err)
	}
	if err := dir.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir.path); !os.IsNotExist(err) {
		t.Errorf("still there after remove: %v", err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClaimWaitsForTheRestOfAKilledLab lets a process that the lock does not name go on holding it, as the first
// process of a lab does whose launching process was killed.
func TestClaimWaitsForTheRestOfAKilledLab(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	old, err := claimRunDir(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old.lock.Name(), []byte("999999999"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := claimRunDir(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v, want to be waiting", err)
	}
	go func() { _ = old.lock.Close() }()
	dir, err := claimRunDir(t.Context(), path)
	if err != nil {
		t.Fatalf("when it is let go: %v", err)
	}
	if err := dir.remove(); err != nil {
		t.Error(err)
	}
}

func TestInspectWithoutALab(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	inspect := func() *cluster.Status {
		t.Helper()
		status, err := Inspect(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if got := inspect(); got.State != cluster.StateStopped {
		t.Errorf("no directory: %s", got.State)
	}
	mkdir(t, path)
	write(t, path, boot.LockFile, "999999999")
	write(t, path, "kubeconfig", "a key")
	if got := inspect(); got.State != cluster.StateStopped {
		t.Errorf("a stale directory: %s", got.State)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a stale directory is not removed")
	}
	mkdir(t, path)
	write(t, path, boot.LockFile, "999999999")
	write(t, path, stateName, `{"state": "failed", "problem": "etcd ended"}`)
	for range 2 {
		if got := inspect(); got.State != cluster.StateFailed || got.Problem != "etcd ended" {
			t.Errorf("a lab that failed: %+v", got)
		}
	}
	if was, err := Down(t.Context(), path); was || err != nil {
		t.Errorf("down: %t, %v", was, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the note of a failure is not removed by down")
	}
}

// TestLongRunDir makes a control socket where its path is longer than a socket address may be.
func TestLongRunDir(t *testing.T) {
	path := t.TempDir()
	for range 12 {
		path = filepath.Join(path, "a-long-name-of-a-directory")
	}
	dir, err := claimRunDir(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := dir.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if err := dir.remove(); err != nil {
		t.Error(err)
	}
}
