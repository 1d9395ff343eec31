package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traces is what a lab has on the machine while it runs.
type traces struct {
	pids       []string        // of the launching process and everything it and its children started
	namespaces map[string]bool // "net:[4026532000]", none of which the test itself is in
	seen       int             // when they were looked for, in clock ticks since the machine started
}

// tracesOf finds the processes of the lab by their ancestry, and so its namespaces.
func tracesOf(t *testing.T, l *lab) traces {
	t.Helper()
	launcher, err := os.ReadFile(filepath.Join(l.runDir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	children := map[string][]string{}
	for _, pid := range processIDs(t) {
		parent := statOf(pid).parent
		children[parent] = append(children[parent], pid)
	}
	own := namespacesOf("self")
	found := traces{namespaces: map[string]bool{}, seen: ticks(t)}
	for todo := []string{string(launcher)}; len(todo) > 0; todo = todo[1:] {
		found.pids = append(found.pids, todo[0])
		for _, ns := range namespacesOf(todo[0]) {
			if !slices.Contains(own, ns) {
				found.namespaces[ns] = true
			}
		}
		todo = append(todo, children[todo[0]]...)
	}
	return found
}

// stat is what the kernel says of a process; nothing of one that has just ended.
type stat struct {
	parent, state string
	start         int // in clock ticks since the machine started
}

func statOf(pid string) stat {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return stat{}
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	start, _ := strconv.Atoi(fields[19])
	return stat{parent: fields[1], state: fields[0], start: start}
}

// ticks is now, in the clock ticks of [stat], of which there are a hundred a second.
func ticks(t *testing.T) int {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return int(now.Nano() / 1e7)
}

// left returns what of the traces is still there. A process that was started later is another lab's: the kernel gives the
// number of a namespace that is gone to the next one.
func (tr traces) left(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, pid := range processIDs(t) {
		process := statOf(pid)
		if process.state == "Z" || process.start > tr.seen {
			continue // a zombie is nothing but an exit status, until the machine's init asks for it
		}
		for _, ns := range namespacesOf(pid) {
			if tr.namespaces[ns] {
				name, _ := os.ReadFile(filepath.Join("/proc", pid, "comm"))
				stack, _ := os.ReadFile(filepath.Join("/proc", pid, "stack"))
				left = append(left, fmt.Sprintf("process %s (%s, state %s) in %s, waits in %q", pid, strings.TrimSpace(string(name)), process.state, ns, stack))
			}
		}
	}
	return left
}

func processIDs(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return dirs
}

// namespacesOf returns nothing for a process that has just ended.
func namespacesOf(pid string) []string {
	var found []string
	links, _ := filepath.Glob(filepath.Join("/proc", pid, "ns", "*"))
	for _, link := range links {
		if ns, err := os.Readlink(link); err == nil {
			found = append(found, ns)
		}
	}
	return found
}

// machine is what a lab must not change on the machine.
type machine struct {
	Mounts, Links, Files []string
}

func machineState(t *testing.T, dir string) machine {
	t.Helper()
	var m machine
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	m.Mounts = strings.Split(string(mounts), "\n")
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		m.Links = append(m.Links, i.Name)
	}
	// The places where programs of this kind keep things.
	for _, pattern := range []string{dir + "/*", "/run/podskew*", "/run/netns/*", "/var/run/netns/*", "/var/lib/kubelet*", "/var/log/pods*", "/etc/cni*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, files...)
	}
	return m
}

// eventually waits until nothing is left: what the kernel does when the last process of a namespace has ended takes a
// moment after the end of the command.
func eventually(t *testing.T, within time.Duration, left func() []string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		remains := left()
		if len(remains) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left after %s:\n%s", within, strings.Join(remains, "\n"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
