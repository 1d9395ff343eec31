package loadgen

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/record"
)

// inNamespace runs the test that calls it in a network namespace of its own, in another process, and reports whether this
// process is that one.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const inside = "PODSKEW_TEST_NAMESPACE"
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(err.Error(), "operation not permitted") {
		t.Skip("network namespaces cannot be made here")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// upLoopback brings the namespace's loopback interface up.
func upLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatal(err)
	}
}

func addressesOf(t *testing.T, link string) []string {
	t.Helper()
	l, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := l.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addrs {
		if s := a.String(); !strings.HasPrefix(s, "127.") && s != "::1/128" {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func TestAnAgentAddsSourcesAndTakesThemAway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	upLoopback(t)
	address := echoServer(t, "a")
	a := newTestAgent(t, AgentConfig{AddSources: true}, address)
	plan := planOf(func(p *Plan) {
		p.Addresses, p.Connections, p.Requests, p.Duration = []record.Address{{HostPort: address}}, 4, 8, 0
		p.RequestsPerConnection, p.Sources = 1, []string{"10.77.9.1", "10.77.9.2"}
	})
	var during []string
	got := &results{}
	sink := got.sink(t)
	err := Drive(t.Context(), a.post, plan, func(m Message) error {
		if m.Ready != nil {
			during = addressesOf(t, "lo")
			if diff := cmp.Diff(plan.Sources, m.Ready.IPs); diff != "" {
				t.Errorf("addresses that connections leave from (-want +got):\n%s", diff)
			}
		}
		return sink(m)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.77.9.1/32", "10.77.9.2/32"}, during); diff != "" {
		t.Errorf("addresses while it ran (-want +got):\n%s", diff)
	}
	n := map[string]int{}
	for _, row := range got.rows {
		host, _, _ := net.SplitHostPort(row.Observed)
		n[host]++
	}
	if diff := cmp.Diff(map[string]int{"10.77.9.1": 4, "10.77.9.2": 4}, n); diff != "" {
		t.Errorf("connections by source (-want +got):\n%s", diff)
	}
	a.server.Close() // waits for the handler
	if left := addressesOf(t, "lo"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestBorrowedAddressesAreCountedAndGivenBack(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	upLoopback(t)
	var l lentAddresses
	plan := planOf(func(p *Plan) {
		p.Addresses, p.Sources = []record.Address{{HostPort: "127.0.0.1:80"}}, []string{"10.77.9.1", "fd77::1", "127.0.0.9"}
	})
	first, err := l.borrow(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.borrow(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"10.77.9.1/32", "fd77::1/128"}
	for _, step := range []struct {
		do   func() error
		want []string
	}{{func() error { return nil }, want}, {first, want}, {second, nil}} {
		if err := step.do(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(step.want, addressesOf(t, "lo")); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	}

	// What cannot be added takes nothing with it, and what nobody removes goes by itself.
	plan.Sources = []string{"10.77.9.3", "nobody"}
	if _, err := l.borrow(t.Context(), plan); err == nil {
		t.Error("nobody's address was added")
	}
	if left := addressesOf(t, "lo"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := setAddress(lo.Index, netip.MustParseAddr("10.77.9.4"), 0); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); len(addressesOf(t, "lo")) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("an address has not expired")
		}
	}
}

func TestAPlanFromAStrangersAddressIsRefused(t *testing.T) {
	plan := planOf(func(p *Plan) { p.Sources = []string{"192.0.2.1"} }) // TEST-NET-1: nobody's
	err := Run(t.Context(), plan, func(Message) error { t.Error("it began"); return nil })
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1 is not an address of this machine") {
		t.Errorf("got %v", err)
	}
	a := guardedAgent(t, AgentConfig{})
	resp := postTo(t.Context(), a, RunPath, testToken, toJSON(t, plan))
	if resp.Code != 400 || !strings.Contains(resp.Body.String(), "may not add addresses") {
		t.Errorf("%d %s", resp.Code, resp.Body)
	}
}
