package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	clientexec "k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRuntimeExecSync(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	config := containerConfig("wait")
	config.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1")}}
	config.WorkingDir = "/here"
	id := h.start(pod, config)
	for name, test := range map[string]struct {
		cmd            []string
		code           int32
		stdout, stderr string
	}{
		"output on both streams and an exit code":  {[]string{"/probe", "exit", "7"}, 7, "leaving\n", "with complaints\n"},
		"no newline at the end":                    {[]string{"/probe", "print", "a", "b"}, 0, "a b", ""},
		"no input":                                 {[]string{"/probe", "cat"}, 0, "", ""},
		"a name relative to the working directory": {[]string{"../probe", "print", "x"}, 0, "x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := h.execSync(id, 20, test.cmd...)
			if err != nil {
				t.Fatal(err)
			}
			if resp.ExitCode != test.code || string(resp.Stdout) != test.stdout || string(resp.Stderr) != test.stderr {
				t.Errorf("got %d, %q, %q", resp.ExitCode, resp.Stdout, resp.Stderr)
			}
		})
	}
	resp, err := h.execSync(id, 20, "/probe", "report", "/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	seen := readReport(t, string(resp.Stdout))
	if seen.PID == 1 || seen.Cwd != "/here" || seen.Hostname != "web" || seen.Files["/etc/hostname"] != "web\n" {
		t.Errorf("a command sees %+v", seen)
	}
	if !strings.Contains(strings.Join(seen.Env, " "), "A=1") {
		t.Errorf("a command's environment lacks the container's: %v", seen.Env)
	}
	resp, err = h.execSync(id, 20, "/probe", "flood", fmt.Sprint(maxExecOutput+1000))
	if err != nil || len(resp.Stdout) != maxExecOutput {
		t.Errorf("%d bytes of a flood are kept (%v), want %d", len(resp.GetStdout()), err, maxExecOutput)
	}
}

func TestRuntimeExecSyncFailures(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("wait"))
	if _, err := h.execSync(id, 20, "sh", "-c", "true"); err == nil || !strings.Contains(err.Error(), "not found in $PATH") {
		t.Errorf("an unknown command gives %v", err)
	}
	if _, err := h.execSync(id, 1, "/probe", "spawn"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a command that does not end gives %v", err)
	}
	// Its child in a session of its own stays until the container ends, as with other runtimes.
	eventually(t, func() error {
		if left := probes(t); len(left) > 2 {
			return fmt.Errorf("the command was not killed: %v", left)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := h.client.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/probe", "stubborn"}})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a caller that gives up gets %v", err)
	}
	eventually(t, func() error {
		if left := probes(t); len(left) > 2 {
			return fmt.Errorf("the command of a caller that gave up was not killed: %v", left)
		}
		return nil
	})
	if _, err := h.client.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if left := probes(t); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	if _, err := h.execSync(id, 20, "/probe", "exit", "0"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a command in an ended container gives %v", err)
	}
	if _, err := h.execSync("none", 20, "/probe"); status.Code(err) != codes.NotFound {
		t.Errorf("a command in no container gives %v", err)
	}
}

// stream connects to the address of an exec or attach.
func stream(ctx context.Context, t *testing.T, address string, options remotecommand.StreamOptions) error {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{}, http.MethodPost, u)
	if err != nil {
		t.Fatal(err)
	}
	return executor.StreamWithContext(ctx, options)
}

func TestRuntimeExecStreams(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("wait"))
	exec := func(req *runtimeapi.ExecRequest, options remotecommand.StreamOptions) error {
		t.Helper()
		req.ContainerId = id
		resp, err := h.client.Exec(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return stream(ctx, t, resp.Url, options)
	}
	t.Run("input reaches the command and its end ends it", func(t *testing.T) {
		var out bytes.Buffer
		text := strings.Repeat("0123456789\n", 50_000)
		err := exec(&runtimeapi.ExecRequest{Cmd: []string{"/probe", "cat"}, Stdin: true, Stdout: true},
			remotecommand.StreamOptions{Stdin: strings.NewReader(text), Stdout: &out})
		if err != nil || out.String() != text {
			t.Errorf("%d of %d bytes came back, %v", out.Len(), len(text), err)
		}
	})
	t.Run("an exit code is an error with the code", func(t *testing.T) {
		var out, errOut bytes.Buffer
		err := exec(&runtimeapi.ExecRequest{Cmd: []string{"/probe", "exit", "9"}, Stdout: true, Stderr: true},
			remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
		exit, ok := errors.AsType[clientexec.CodeExitError](err)
		if !ok || exit.Code != 9 || out.String() != "leaving\n" || errOut.String() != "with complaints\n" {
			t.Errorf("got %v, %q, %q", err, out.String(), errOut.String())
		}
	})
	t.Run("a command that is not there is an error that names it", func(t *testing.T) {
		err := exec(&runtimeapi.ExecRequest{Cmd: []string{"bash"}, Stdout: true}, remotecommand.StreamOptions{Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), `"bash"`) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a terminal of the container's own", func(t *testing.T) {
		var out bytes.Buffer
		err := exec(&runtimeapi.ExecRequest{Cmd: []string{"/probe", "terminal"}, Stdin: true, Stdout: true, Tty: true},
			remotecommand.StreamOptions{
				Stdin: strings.NewReader("hello\n"), Stdout: &out, Tty: true,
				TerminalSizeQueue: &oneSize{size: &remotecommand.TerminalSize{Width: 123, Height: 45}},
			})
		want := "terminal /dev/pts/0 123x45"
		if err != nil || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "read hello") {
			t.Errorf("got %q, %v; want %q", out.String(), err, want)
		}
	})
}

// oneSize tells one window size.
type oneSize struct {
	size *remotecommand.TerminalSize
}

func (q *oneSize) Next() *remotecommand.TerminalSize {
	size := q.size
	q.size = nil
	return size
}

func TestRuntimeAttach(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	attach := func(id string, req *runtimeapi.AttachRequest, options remotecommand.StreamOptions) error {
		t.Helper()
		req.ContainerId = id
		resp, err := h.client.Attach(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return stream(ctx, t, resp.Url, options)
	}
	t.Run("input once, output to client and log", func(t *testing.T) {
		config := labelled(containerConfig("cat"), "cat")
		config.Stdin, config.StdinOnce = true, true
		id := h.start(pod, config)
		var out bytes.Buffer
		err := attach(id, &runtimeapi.AttachRequest{Stdin: true, Stdout: true, Stderr: true},
			remotecommand.StreamOptions{Stdin: strings.NewReader("one\ntwo"), Stdout: &out, Stderr: io.Discard})
		if err != nil || out.String() != "one\ntwo" {
			t.Errorf("got %q, %v", out.String(), err)
		}
		if got := h.exited(id).ExitCode; got != 0 {
			t.Errorf("exit code %d", got)
		}
		if diff := cmp.Diff([]string{"stdout F one", "stdout F two"}, h.logLines(id)); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
	t.Run("a container with a terminal", func(t *testing.T) {
		config := labelled(containerConfig("terminal"), "terminal")
		config.Stdin, config.Tty = true, true
		id := h.start(pod, config)
		var out bytes.Buffer
		err := attach(id, &runtimeapi.AttachRequest{Stdin: true, Stdout: true, Tty: true}, remotecommand.StreamOptions{
			Stdin: strings.NewReader("hello\n"), Stdout: &out, Tty: true,
			TerminalSizeQueue: &oneSize{size: &remotecommand.TerminalSize{Width: 123, Height: 45}},
		})
		if err != nil || !strings.Contains(out.String(), "read hello") {
			t.Errorf("got %q, %v", out.String(), err)
		}
		h.exited(id)
		h.waitLog(id, "terminal /dev/pts/0 123x45")
	})
	t.Run("an ended container", func(t *testing.T) {
		id := h.start(pod, labelled(containerConfig("exit", "0"), "exit"))
		h.exited(id)
		_, err := h.client.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdout: true})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("got %v", err)
		}
	})
}

func TestRuntimePortForward(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	// Both families, and the same ports in two pods: the pod's network decides.
	for _, addr := range []string{"127.0.0.1:8080", "[::1]:9090"} {
		id := h.start(pod, labelled(containerConfig("listen", addr), "l"+addr[len(addr)-4:]))
		h.waitLog(id, "listening")
	}
	resp, err := h.client.PortForward(t.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: pod})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(resp.Url)
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080", "0:9090", "0:7070"},
		stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The failed port below ends the forwarding of all.
		if err := forwarder.ForwardPorts(); err != nil {
			t.Logf("forwarding ended with %v", err)
		}
	}()
	select {
	case <-ready:
	case <-ended:
		t.Fatal("forwarding did not begin")
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports[:2] {
		text := strings.Repeat("through the tunnel ", 10_000)
		if got, err := echo(port.Local, text); err != nil || got != text {
			t.Errorf("port %d: %d of %d bytes came back, %v", port.Remote, len(got), len(text), err)
		}
	}
	if got, _ := echo(ports[2].Local, "x"); got != "" {
		t.Errorf("a port that nobody listens on answers %q", got)
	}
	close(stop)
	<-ended
}

// echo sends the text to a local port and returns the answer.
func echo(port uint16, text string) (string, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	go func() {
		// What fails here shows in the answer.
		_, _ = io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	data, err := io.ReadAll(conn)
	return string(data), err
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestRuntimeShutdownEndsStreams(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("wait"))
	resp, err := h.client.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"/probe", "stubborn"}, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Whether the exit code still reaches the client is luck.
		err := stream(context.Background(), t, resp.Url, remotecommand.StreamOptions{Stdout: &out})
		t.Logf("the stream ended with %v", err)
	}()
	eventually(t, func() error {
		if out.String() == "" {
			return errors.New("the command does not run")
		}
		return nil
	})
	h.stop()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the stream goes on after the server's end")
	}
}
