//go:build linux && (amd64 || arm64)

package loadgen

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/record"
)

// A loop with little to do must not take processor time from what is measured: hundreds of agents may stand on one node. Every
// wait wakes Go's own watcher some dozens of times, so that what counts is how seldom the loop waits anew.
func TestALoopWithLittleToDoSleeps(t *testing.T) {
	address := echoServer(t, "a")
	plan := planOf(func(p *Plan) {
		p.Addresses = []record.Address{{HostPort: address}}
		p.Connections, p.Rate, p.RequestsPerConnection, p.Duration, p.Driver = 1, 5, 1, 2*time.Second, DriverEpoll
	})
	switches := func() int64 {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return usage.Nvcsw
	}
	before := switches()
	got := runPlan(t, plan)
	perSecond := float64(switches()-before) / got.done.Seconds
	t.Logf("%.0f context switches a second for %d requests", perSecond, got.requests())
	if perSecond > 1500 { // some 500; 3,000 when the loop looked around fifty times a second
		t.Errorf("%.0f context switches a second for %d requests", perSecond, got.requests())
	}
}
