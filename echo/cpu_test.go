package echo

import (
	"net/netip"
	"testing"
	"testing/fstest"
	"time"
)

func addrPort(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(port))
}

func TestReadCPULimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, tc := range map[string]struct {
		files fstest.MapFS
		want  float64
	}{
		"version 2, in a namespace of its own": {fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("50000 100000\n"),
		}, 0.5},
		"version 2, without a limit": {fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("max 100000\n"),
		}, 0},
		"version 2, the parent's limit is smaller": {fstest.MapFS{
			"proc/self/cgroup": file("0::/pods/echo\n"), "sys/fs/cgroup/pods/echo/cpu.max": file("300000 100000\n"),
			"sys/fs/cgroup/pods/cpu.max": file("150000 100000\n"),
		}, 1.5},
		"version 2, the path is the host's": {fstest.MapFS{
			"proc/self/cgroup": file("0::/../../pod1\n"), "sys/fs/cgroup/cpu.max": file("200000 100000\n"),
		}, 2},
		"version 1": {fstest.MapFS{
			"proc/self/cgroup": file("5:memory:/x\n4:cpu,cpuacct:/x\n0::/x\n"),
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us":  file("25000\n"),
			"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": file("100000\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":    file("-1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us":   file("100000\n"),
		}, 0.25},
		"version 1, mounted as cpu": {fstest.MapFS{
			"proc/self/cgroup": file("4:cpuacct,cpu:/\n"), "sys/fs/cgroup/cpu/cpu.cfs_quota_us": file("100000\n"),
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": file("100000\n"),
		}, 1},
		"nonsense":    {fstest.MapFS{"proc/self/cgroup": file("nonsense\n0::/\n"), "sys/fs/cgroup/cpu.max": file("-5 x\n")}, 0},
		"no cgroups":  {fstest.MapFS{}, 0},
		"no period":   {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("5\n")}, 0},
		"period of 0": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("5 0\n")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ReadCPULimit(tc.files); got != tc.want {
				t.Errorf("%g cores, want %g", got, tc.want)
			}
		})
	}
}

func TestTheLimitOfThePodHoldsWithoutOneOfItsCgroup(t *testing.T) {
	for _, tc := range []struct {
		given float64
		limit string
		want  float64
	}{{0.5, "4000", 0.5}, {0, "4000", 4}, {0, "2", 2}, {0, "250m", 0.25}, {0, "64000", 4}, {0, Unknown, 0}, {0, "", 0}, {0, "-1", 0}, {0, "250", 0.25}} {
		if got := cpuLimitOf(tc.given, tc.limit, 4); got != tc.want {
			t.Errorf("given %g and %q: %g cores, want %g", tc.given, tc.limit, got, tc.want)
		}
	}
}

func TestProcessorTimeGrows(t *testing.T) {
	before, turns := processCPU(), 0
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); turns++ {
		_ = turns
	}
	if processCPU() <= before {
		t.Errorf("%s of processor time before, %s after 30 ms of work", before, processCPU())
	}
}

func FuzzReadCPULimit(f *testing.F) {
	f.Add("0::/a/b\n", "100000 100000")
	f.Add("3:cpu:/../x\n", "max")
	f.Fuzz(func(t *testing.T, groups, limit string) {
		got := ReadCPULimit(fstest.MapFS{"proc/self/cgroup": {Data: []byte(groups)}, "sys/fs/cgroup/cpu.max": {Data: []byte(limit)}})
		if !(got >= 0) {
			t.Errorf("%q and %q give %g", groups, limit, got)
		}
	})
}
