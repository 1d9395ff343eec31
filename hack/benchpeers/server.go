package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const nginxConfig = `daemon off;
master_process off;
worker_rlimit_nofile 65536;
error_log stderr crit;
pid %[1]s/pid;
events { worker_connections 15000; use epoll; }
http {
  access_log off;
  server_tokens off;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  server {
    listen %[2]s reuseport backlog=65535;
    location / {
      default_type application/json;
      add_header X-Pod echo-7d9c5b6f4-x2x9z;
      return 200 '{"pod":"echo-7d9c5b6f4-x2x9z","node":"worker2","zone":"b","n":12345678}\n';
    }
  }
}
`

// server is a process that answers, on a port of its own.
type server struct {
	url string
	cmd *exec.Cmd
}

// startNginx starts nginx with one worker, on processor 0 if pinned.
func startNginx(ctx context.Context, dir string, pinned bool) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, address), 0o600); err != nil {
		return nil, err
	}
	return startServer(ctx, address, pin([]string{"nginx", "-c", config}, pinned, "0"))
}

// startEcho starts an echo pod's program.
func startEcho(ctx context.Context, program string, pinned bool) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return startServer(ctx, address, pin([]string{program, "echo", "--listen", address}, pinned, "0"))
}

func startServer(ctx context.Context, address string, args []string) (*server, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // this program's own words
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{url: "http://" + address, cmd: cmd}
	for range 100 {
		if conn, err := net.Dial("tcp", address); err == nil { //nolint:noctx // on loopback
			return s, conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("%s does not listen on %s", args[0], address)
}

// stop ends the server and returns the processor time that it took.
func (s *server) stop() time.Duration {
	_ = s.cmd.Process.Signal(os.Interrupt)
	late := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on loopback
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// pin makes a command run on one processor.
func pin(args []string, pinned bool, cpu string) []string {
	if !pinned {
		return args
	}
	return append([]string{"taskset", "-c", cpu}, args...)
}
