package podnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace marks the process that runs a test in namespaces of its own.
const inNamespace = "PODNET_TEST_IN_NAMESPACE"

// isolate runs the test again in a network namespace of its own, and reports whether this is that run.
func isolate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	again := func(arg ...string) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", arg...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		return cmd
	}
	if err := again("-test.run=^$").Run(); err != nil {
		t.Skipf("this machine gives no user namespace: %v", err)
	}
	cmd := again("-test.run=^"+t.Name()+"$", "-test.v")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("in the namespace: %v", err)
	}
	return false
}

// newNamespace returns a fresh network namespace.
func newNamespace(t *testing.T) *os.File {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { _ = r.file.Close() })
	return r.file
}

// within runs f on a thread in the namespace.
func within(t *testing.T, ns *os.File, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestPodsOfOneNode connects two pods of a node through the node.
func TestPodsOfOneNode(t *testing.T) {
	if !isolate(t) {
		return
	}
	if err := linkUp(&netlink.Handle{}, "lo"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	pods, err := NewPods(netip.MustParsePrefix("10.78.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	server, client := newNamespace(t), newNamespace(t)
	attach := func(id string, ns *os.File, want string) {
		t.Helper()
		addresses, err := pods.Attach(t.Context(), id, ns)
		if err != nil || fmt.Sprint(addresses) != want {
			t.Fatalf("%s: %v, %v; want %s", id, addresses, err, want)
		}
	}
	attach("server", server, "[10.78.1.2]")
	attach("client", client, "[10.78.1.3]")

	var listener net.Listener
	within(t, server, func() (err error) {
		listener, err = net.Listen("tcp4", ":80")
		return err
	})
	seen := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			seen <- err.Error()
			return
		}
		defer conn.Close()
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		seen <- host
	}()
	within(t, client, func() error {
		conn, err := net.Dial("tcp4", "10.78.1.2:80")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.ReadAll(conn)
		return err
	})
	if got := <-seen; got != "10.78.1.3" {
		t.Errorf("the server saw %s", got)
	}
	for _, id := range []string{"server", "client", "client", "unknown"} {
		if err := pods.Detach(context.WithoutCancel(t.Context()), id); err != nil {
			t.Errorf("detaching %s: %v", id, err)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "pod") {
			t.Errorf("link %s is left", l.Attrs().Name)
		}
	}
	attach("next", newNamespace(t), "[10.78.1.4]")
}

// startNode starts a process with a network namespace of its own, which ends with the test. The test keeps its thread: the kernel kills the
// process when the thread that started it ends (Pdeathsig), and what runs in another namespace ends its thread.
func startNode(t *testing.T) *os.Process {
	t.Helper()
	runtime.LockOSThread()
	node := exec.Command("sleep", "60")
	node.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
		runtime.UnlockOSThread()
	})
	return node.Process
}

// TestLANJoins connects a node to the control plane.
func TestLANJoins(t *testing.T) {
	if !isolate(t) {
		return
	}
	lan, err := NewLAN(netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	node := startNode(t)
	routes := []Route{{To: netip.MustParsePrefix("10.78.2.0/24"), Via: netip.MustParseAddr("10.77.0.12")}}
	if err := lan.Join("worker", node.Pid, netip.MustParsePrefix("10.77.0.11/24"), routes); err != nil {
		t.Fatal(err)
	}
	if err := lan.AddRoutes([]Route{{To: netip.MustParsePrefix("10.78.1.0/24"), Via: netip.MustParseAddr("10.77.0.11")}}); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", node.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	listener, err := net.Listen("tcp4", "10.77.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	within(t, ns, func() error {
		conn, err := net.Dial("tcp4", "10.77.0.1:80")
		if err != nil {
			return err
		}
		defer conn.Close()
		if got := conn.LocalAddr().String(); !strings.HasPrefix(got, "10.77.0.11:") {
			return fmt.Errorf("the node dials from %s", got)
		}
		found, err := netlink.RouteGet(net.IPv4(10, 78, 2, 9))
		if err != nil || len(found) != 1 || found[0].Gw.String() != "10.77.0.12" {
			return fmt.Errorf("route to the other node's pods: %v, %w", found, err)
		}
		return nil
	})
}
