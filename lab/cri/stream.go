package cri

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// forwardDialTime bounds the connection to a forwarded port; it never leaves the machine.
const forwardDialTime = 10 * time.Second

// Exec returns where the command's streams are served.
func (s *Server) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if err := s.requireRunning(req.GetContainerId()); err != nil {
		return nil, err
	}
	return s.streams.urls.GetExec(req)
}

// Attach returns where the container's streams are served.
func (s *Server) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if err := s.requireRunning(req.GetContainerId()); err != nil {
		return nil, err
	}
	return s.streams.urls.GetAttach(req)
}

// PortForward returns where connections to the pod's ports are served.
func (s *Server) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if s.sandbox(req.GetPodSandboxId()) == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	return s.streams.urls.GetPortForward(req)
}

func (s *Server) requireRunning(id string) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	_, err = c.runningStdio()
	return err
}

// streamRuntime is what the streaming server calls back.
type streamRuntime struct {
	s *Server
}

// Exec runs a command; an exit code other than 0 is a utilexec.ExitError, as the protocol wants it.
func (r streamRuntime) Exec(ctx context.Context, containerID string, cmd []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := r.s.container(containerID)
	if err != nil {
		return err
	}
	code, err := r.s.exec(ctx, c, command{
		args: cmd, stdin: in, stdout: writer(out), stderr: writer(errOut), tty: tty, resize: resize,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", code), Code: int(code)}
	}
	return nil
}

// writer returns w, and a nil interface for a nil one.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// Attach connects a client to the container's own streams until the container ends.
func (r streamRuntime) Attach(ctx context.Context, containerID string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := r.s.container(containerID)
	if err != nil {
		return err
	}
	streams, err := c.runningStdio()
	if err != nil {
		return err
	}
	client := streams.attach()
	defer streams.detach(client)
	if tty && streams.console != nil {
		go resizeTerminal(streams.console, resize)
	}
	if in != nil && streams.stdin != nil {
		go streams.copyInput(in) // ends when the streaming server closes the client's connection
	}
	return client.copyOutput(ctx, writer(out), writer(errOut))
}

// copyOutput writes the container's output to a client, nil writers aside, until the container ends.
func (a *attachment) copyOutput(ctx context.Context, out, errOut io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case piece, ok := <-a.output:
			if !ok {
				return nil
			}
			w := out
			if piece.stderr {
				w = errOut
			}
			if w == nil {
				continue
			}
			if _, err := w.Write(piece.data); err != nil {
				return fmt.Errorf("writing to the attached client: %w", err)
			}
		}
	}
}

// copyInput hands a client's input to the container, and the end of it if the container wants only one client's.
func (o *stdio) copyInput(in io.Reader) {
	_, _ = io.Copy(o.stdin, in)
	if o.once && o.console == nil {
		o.stdin.Close()
	}
}

// PortForward connects a stream to a port on the loopback interface of the pod.
func (r streamRuntime) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	sb := r.s.sandbox(sandboxID)
	if sb == nil {
		return status.Errorf(codes.NotFound, "sandbox %q not found", sandboxID)
	}
	ns, err := sb.holdNamespaces()
	if err != nil {
		return err
	}
	defer ns.close()
	conn, err := dialPort(ctx, ns.net, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { // ends when the streaming server closes the stream
		_, _ = io.Copy(conn, stream)
		if half, ok := conn.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	if _, err := io.Copy(stream, conn); err != nil {
		return fmt.Errorf("forwarding port %d: %w", port, err)
	}
	return nil
}

// dialPort connects to a port on the loopback of a network namespace, IPv4 first.
func dialPort(ctx context.Context, netns *os.File, port int32) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, forwardDialTime)
	defer cancel()
	err = inNetwork(ctx, netns, func(ctx context.Context) error {
		var dialer net.Dialer
		var first error
		for _, host := range []string{"127.0.0.1", "::1"} {
			var err error
			if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return fmt.Errorf("connecting to port %d in the pod: %w", port, first)
	})
	return conn, err
}
