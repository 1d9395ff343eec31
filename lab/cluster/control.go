package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/lab/boot"
)

// ControlPlane names the network namespace of the control plane where a node is asked for.
const ControlPlane = "control-plane"

// maxRequest bounds a request; an environment can be large.
const maxRequest = 1 << 20

// serveControl answers callers until the listener is closed.
func (s *supervisor) serveControl(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer conn.Close()
			if unixConn, ok := conn.(*net.UnixConn); ok {
				s.answer(unixConn)
			}
		}()
	}
}

func (s *supervisor) answer(conn *net.UnixConn) {
	request, files, err := receive(conn)
	defer closeAll(files)
	var response Response
	switch {
	case err != nil:
		response.Error = err.Error()
	case request.Exec != nil:
		response.Exit, err = s.exec(conn, request.Exec, files)
		if err != nil {
			response.Error = err.Error()
		}
	case request.Node != nil:
		if err := s.changeNode(conn, *request.Node); err != nil {
			response.Error = err.Error()
		}
	default:
		response.Status = s.status()
	}
	_ = json.NewEncoder(conn).Encode(response)
}

// receive reads one request and the descriptors that came with its first byte.
func receive(conn *net.UnixConn) (*Request, []*os.File, error) {
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, nil, err
	}
	oob := make([]byte, unix.CmsgSpace(3*4))
	first := make([]byte, 1)
	_, oobn, _, _, err := conn.ReadMsgUnix(first, oob)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the request: %w", err)
	}
	files, err := receivedFiles(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	var request Request
	if err := json.NewDecoder(&limitedReader{conn, maxRequest}).Decode(&request); err != nil {
		return nil, files, fmt.Errorf("reading the request: %w", err)
	}
	return &request, files, conn.SetReadDeadline(time.Time{})
}

// limitedReader fails, where io.LimitedReader would pretend that the input ended.
type limitedReader struct {
	conn net.Conn
	left int
}

// Read reads from the connection.
func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the request is too long")
	}
	n, err := l.conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// exec runs the command and returns its exit status. The command is killed when the caller goes away.
func (s *supervisor) exec(conn *net.UnixConn, request *ExecRequest, files []*os.File) (int, error) {
	if len(files) != 3 || len(request.Command) == 0 {
		return 0, errors.New("a command needs its standard input, output and error")
	}
	pid, err := s.nodePid(request.Node)
	if err != nil {
		return 0, err
	}
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	cmd := exec.CommandContext(ctx, boot.Self, append([]string{boot.RoleEnter, strconv.Itoa(pid), request.Dir}, request.Command...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = request.Env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		// The caller sends nothing more; this returns when it is gone, or when answer closes the connection.
		_, _ = io.Copy(io.Discard, conn)
		kill()
	}()
	err = cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// nodePid returns the process 1 of a node.
func (s *supervisor) nodePid(name string) (int, error) {
	if name == ControlPlane {
		return os.Getpid(), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		if r != nil && r.Name == name {
			return r.pid, nil
		}
	}
	return 0, fmt.Errorf("there is no node %q", name)
}

func (s *supervisor) status() *Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := &Status{State: s.state, ProxyMode: s.config.ProxyMode, Components: s.processes.list()}
	for _, n := range s.nodes {
		ns := NodeStatus{Name: n.Name, Address: n.Address.String(), Zone: n.Zone, External: n.External}
		if n.PodCIDR.IsValid() {
			ns.PodCIDR = n.PodCIDR.String()
		}
		status.Nodes = append(status.Nodes, ns)
	}
	return status
}
