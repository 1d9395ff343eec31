package cluster

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// testSupervisor is one without processes, and the address of its control socket.
func testSupervisor(t *testing.T) (*supervisor, *net.UnixAddr) {
	t.Helper()
	s := &supervisor{
		config: Config{Workers: 1, ProxyMode: NFTables}, nodes: Nodes(1), processes: newProcesses(func(error) {}),
		state: StateReady,
	}
	address := &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "s")}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go s.serveControl(listener)
	return s, address
}

// ask sends bytes with files and returns the answer.
func ask(t *testing.T, address *net.UnixAddr, request string, files ...*os.File) Response {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix([]byte(" "), unix.UnixRights(fds...), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseWrite()
	var response Response
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&response); err != nil {
		t.Fatal(err)
	}
	return response
}

func TestControlStatus(t *testing.T) {
	s, address := testSupervisor(t)
	s.processes.set(component{name: "etcd"}, stateRunning)
	got := ask(t, address, "{}")
	if got.Status == nil || got.Status.State != "ready" || len(got.Status.Nodes) != 2 || len(got.Status.Components) != 1 {
		t.Errorf("got %+v", got.Status)
	}
}

func TestControlRefuses(t *testing.T) {
	_, address := testSupervisor(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	three := []*os.File{null, null, null}
	tests := []struct {
		name    string
		request string
		files   []*os.File
		want    string
	}{
		{"what is no request", "hello", nil, "reading the request"},
		{"a command without files", `{"exec": {"node": "worker", "command": ["true"]}}`, nil, "needs its standard input"},
		{"no command", `{"exec": {"node": "worker"}}`, three, "needs its standard input"},
		{"a node that is not there", `{"exec": {"node": "worker7", "command": ["true"]}}`, three, `no node "worker7"`},
		{"an endless request", `{"exec": {"node": "` + strings.Repeat("x", maxRequest), nil, "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, address, tt.request, tt.files...); !strings.Contains(got.Error, tt.want) {
				t.Errorf("got %q, want %q", got.Error, tt.want)
			}
		})
	}
}
