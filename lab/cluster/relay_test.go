package cluster

import (
	"io"
	"net"
	"testing"
)

// TestRelay sends through the relay to a server that answers only after its caller has finished sending.
func TestRelay(t *testing.T) {
	server := listen(t)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				data, _ := io.ReadAll(conn)
				_, _ = conn.Write(append([]byte("got "), data...))
			}()
		}
	}()
	door := listen(t)
	go relay(door, server.Addr().String())
	for range 3 {
		conn, err := net.Dial("tcp", door.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(conn)
		if err != nil || string(data) != "got hello" {
			t.Errorf("got %q, %v", data, err)
		}
		_ = conn.Close()
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
