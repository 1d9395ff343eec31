//go:build unix

package loadgen

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

var client = flag.String("podskew.client", "", "be a client of this address with 10,000 connections, in a process of its own so that its memory can be told")

// manyConnections is what an agent may have to hold by default.
const manyConnections = 10_000

// benchClient holds many connections to address for a while.
func benchClient(address string) {
	plan := planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address}}
		p.Connections, p.Requests, p.Duration = manyConnections, 3*manyConnections, 0
		p.ConnectTimeout, p.Timeout = time.Minute, time.Minute
	})
	rows, failed := 0, 0
	err := Run(context.Background(), plan, func(m Message) error {
		rows += len(m.Connections)
		if m.Progress != nil {
			failed = m.Progress.Errors
		}
		return nil
	})
	fmt.Fprintln(os.Stdout, rows, failed, err)
}

func TestTenThousandConnectionsFitIntoLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < manyConnections+100 {
		t.Skipf("%d file descriptors are too few, %v", limit.Cur, err)
	}
	address := startBenchServer(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-podskew.client", address)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != "10000 0 <nil>" {
		t.Errorf("rows, errors and the run's error: %s", got)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Skip("this system does not say how much memory it took")
	}
	const most = 64 << 10 // KiB
	if kib := usage.Maxrss; kib > most && !raceEnabled {
		t.Errorf("%d MiB of memory, want up to %d", kib>>10, most>>10)
	}
}
