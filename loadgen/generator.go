package loadgen

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/podskew/podskew/record"
)

// meter measures what a run costs. The zero value has not begun.
type meter struct {
	mu    sync.Mutex
	began time.Time
	cpu   time.Duration
}

// begin begins, or begins anew.
func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.began, m.cpu = time.Now(), cpuTime()
}

// read returns the time since it began and the processor time in it, in seconds; 0: it has not.
func (m *meter) read() (seconds, cpu float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		return 0, 0
	}
	return time.Since(m.began).Seconds(), max(cpuTime()-m.cpu, 0).Seconds()
}

// generator is what the run says about itself, once its driver has ended.
func (r *run) generator() *record.Generator {
	g := &record.Generator{
		Stream: r.plan.Stream, Agent: r.plan.Agent, Driver: r.driver.name(), CPULimit: cpuLimit(), ClockCost: clockCost(),
		Intended: int(r.intended.Load()), Dropped: int(r.unsent.Load()), Lateness: r.lateness(),
		LocalPorts: localPorts(), OutOfPorts: int(r.ownFaults.Load()), ReusedPorts: int(r.ports.reused.Load()),
		HeldBack: float64(r.heldBack.Load()) * 1e-9, DroppedRows: int(r.droppedRows.Load()), Conntrack: r.tuples.conntrack(),
	}
	g.Seconds, g.CPUSeconds = r.meter.read()
	g.WarmUp = r.warmUp()
	r.driver.account(g)
	return g
}

// clockCost is how long one reading of the clock takes, in seconds.
func clockCost() float64 {
	const readings = 1000
	began := time.Now()
	for range readings {
		_ = time.Since(began)
	}
	return time.Since(began).Seconds() / readings
}

// cpuLimit is how many cores the process may use: those that it may run on, or what its control group allows.
func cpuLimit() float64 {
	limit := float64(runtime.NumCPU())
	text, err := os.ReadFile("/sys/fs/cgroup/cpu.max")
	if err != nil {
		return limit
	}
	fields := strings.Fields(string(text)) // "max 100000", or "50000 100000"
	if len(fields) != 2 {
		return limit
	}
	quota, err1 := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return limit
	}
	return min(limit, quota/period)
}

// localPorts is how many ports the kernel may choose for connections from one address to another; 0: not known. Other
// connections of the same two addresses may use some of them.
func localPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range") // of IPv6, too
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0
	}
	low, err1 := strconv.Atoi(fields[0])
	high, err2 := strconv.Atoi(fields[1])
	if err1 != nil || err2 != nil || high < low {
		return 0
	}
	reserved, _ := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	return high - low + 1 - reservedPorts(string(reserved), low, high)
}

// reservedPorts counts the ports of a list like "8080,9000-9010" that are from low to high.
func reservedPorts(list string, low, high int) int {
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		n += max(0, min(to, high)-max(from, low)+1)
	}
	return n
}
