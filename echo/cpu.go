package echo

import (
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// Usage is what the server's process used, and what it may use: a server at its limit answers late for reasons that the
// Service has nothing to do with.
type Usage struct {
	// CPUSeconds is the processor time of the whole process since its start, in user and system mode. 0: not known.
	CPUSeconds float64 `json:"cpuSeconds"`
	// CPULimit is how many cores the process may use at a time, by its cgroup or its pod's limit. 0: there is no limit,
	// or none is known.
	CPULimit float64 `json:"cpuLimit"`
	// CPUs is how many cores the process can run on, which others may use as well.
	CPUs int `json:"cpus"`
}

// usage returns the figures of this moment.
func (s *Server) usage() Usage {
	return Usage{CPUSeconds: processCPU().Seconds(), CPULimit: s.cpuLimit, CPUs: runtime.NumCPU()}
}

// cpuLimitOf returns the limit in cores that holds: the given one, else that of the pod. The Downward API renders a
// number of cores, or of millicores where the manifest has a divisor of 1m, and does not say which: a number that is
// larger than the machine has cores is taken for millicores.
func cpuLimitOf(given float64, limit string, cpus int) float64 {
	if given > 0 {
		return given
	}
	n, err := strconv.ParseFloat(limit, 64)
	if milli, ok := strings.CutSuffix(limit, "m"); ok {
		if n, err = strconv.ParseFloat(milli, 64); err == nil {
			n /= 1000
		}
	}
	if err != nil || n <= 0 {
		return 0
	}
	if n > float64(cpus) {
		n /= 1000
	}
	return min(n, float64(cpus))
}

// ReadCPULimit returns how many cores the cgroup of this process may use, of either version of cgroups. The file system
// is that of the machine, os.DirFS("/"). The smallest limit between the process's own group and the root holds. 0: there
// is no limit, or the files cannot be read.
func ReadCPULimit(root fs.FS) float64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	limit := 0.0
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var found float64
		switch {
		case parts[1] == "":
			found = smallest(root, "sys/fs/cgroup", parts[2], limitV2)
		case strings.Contains(","+parts[1]+",", ",cpu,"):
			found = smallest(root, "sys/fs/cgroup/"+parts[1], parts[2], limitV1)
			if found == 0 {
				found = smallest(root, "sys/fs/cgroup/cpu", parts[2], limitV1)
			}
		}
		if found > 0 && (limit == 0 || found < limit) {
			limit = found
		}
	}
	return limit
}

// smallest walks from a group up to the root of its hierarchy. In a container the path may be that on the host, which
// does not exist here; the root then is the container's own group.
func smallest(root fs.FS, mount, group string, read func(fs.FS, string) float64) float64 {
	limit := 0.0
	for at := path.Clean("/" + group); ; at = path.Dir(at) {
		if found := read(root, path.Join(mount, at)); found > 0 && (limit == 0 || found < limit) {
			limit = found
		}
		if at == "/" {
			return limit
		}
	}
}

// limitV2 reads cpu.max: a quota, or max, and the period, both in microseconds.
func limitV2(root fs.FS, dir string) float64 {
	text, err := fs.ReadFile(root, path.Join(dir, "cpu.max"))
	if err != nil {
		return 0
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return ratio(quota, period)
}

// limitV1 reads the quota, -1 for none, and the period.
func limitV1(root fs.FS, dir string) float64 {
	quota, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0
	}
	period, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0
	}
	return ratio(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

// ratio is quota by period if both are positive numbers, else 0.
func ratio(quota, period string) float64 {
	q, errQ := strconv.ParseInt(quota, 10, 64)
	p, errP := strconv.ParseInt(period, 10, 64)
	if errQ != nil || errP != nil || q <= 0 || p <= 0 {
		return 0
	}
	return float64(q) / float64(p)
}
