package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Deadlines. They are for machines that do a lot else; nothing waits for them when all is well.
const (
	startTimeout = 90 * time.Second
	endTimeout   = 15 * time.Second
	podTimeout   = 45 * time.Second
)

// lab is a running "podskew-lab up".
type lab struct {
	cmd    *exec.Cmd
	runDir string
	uid    int
	stdout chan string // its lines
	stderr *lockedBuffer
	ended  chan struct{} // closed when the command has ended; then err is its error
	err    error

	config *rest.Config // once it is ready
	client kubernetes.Interface
}

// options of a lab for a test.
type options struct {
	args  []string
	uid   int        // run as this user; 0: as the test itself
	extra []*os.File // inherited from descriptor 3 on
}

// startLab starts a lab and waits until it is ready. It is ended with the test, if not before.
func startLab(t *testing.T, o options) *lab {
	t.Helper()
	l := launchLab(t, o)
	l.awaitReady(t)
	return l
}

// launchLab starts the command and does not wait.
func launchLab(t *testing.T, o options) *lab {
	t.Helper()
	requireLabs(t)
	l := &lab{
		runDir: filepath.Join(labDir(t, o.uid), "run"), uid: o.uid,
		stdout: make(chan string, 10), stderr: &lockedBuffer{}, ended: make(chan struct{}),
	}
	args := append([]string{"up", "--run-dir", l.runDir, "--image", imageName + "=" + prepared.pod}, o.args...)
	l.cmd = exec.Command(prepared.binary, args...)
	l.cmd.Stderr = l.stderr
	l.cmd.ExtraFiles = o.extra
	asUser(l.cmd, o.uid)
	stdout, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			l.stdout <- lines.Text()
		}
		l.err = l.cmd.Wait()
		close(l.ended)
	}()
	t.Cleanup(func() { l.stop(t) })
	return l
}

// requireLabs skips the test where labs cannot run.
func requireLabs(t *testing.T) {
	t.Helper()
	if prepared.unfit != "" {
		t.Skip(prepared.unfit)
	}
}

// labDir is a directory that the user owns and that is short enough to be read in messages.
func labDir(t *testing.T, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-") //nolint:usetesting // other users cannot enter the parent of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if uid != 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// asUser makes the command run as the user, without any of the test's groups.
func asUser(cmd *exec.Cmd, uid int) {
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
}

func (l *lab) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case path := <-l.stdout:
		l.connect(t, path)
	case <-l.ended:
		t.Fatalf("the lab ended before it was ready: %v\n%s", l.err, l.stderr)
	case <-time.After(startTimeout):
		t.Fatalf("the lab was not ready after %s\n%s", startTimeout, l.stderr)
	}
}

func (l *lab) connect(t *testing.T, kubeconfig string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	l.config = config
	if l.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until the command has ended and returns its exit code.
func (l *lab) awaitEnd(t *testing.T) int {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(endTimeout):
		t.Fatalf("the lab did not end\n%s", l.stderr)
	}
	return exitCode(l.err)
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// stop ends the lab if it still runs.
func (l *lab) stop(t *testing.T) {
	t.Helper()
	if l.cmd.Process.Signal(syscall.SIGTERM) == nil {
		l.awaitEnd(t)
	}
	if t.Failed() {
		t.Logf("standard error of %s:\n%s", l.cmd, l.stderr)
	}
}

// run runs another command of podskew-lab on the lab and returns its output and exit code.
func (l *lab) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	args = append([]string{args[0], "--run-dir", l.runDir}, args[1:]...)
	cmd := exec.CommandContext(t.Context(), prepared.binary, args...)
	asUser(cmd, l.uid)
	var out, errors bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errors
	err := cmd.Run()
	return out.String(), errors.String(), exitCode(err)
}

// lockedBuffer is a buffer that may be read while a command writes it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String is what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
