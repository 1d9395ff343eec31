package kind

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What five nodes need of a machine. Each node runs systemd, containerd, a kubelet and kube-proxy, all of which watch
// files, and all of which count against one user: root.
const (
	minInstances  = 128  // the kernel's default: five nodes just fit where nothing else watches much
	goodInstances = 512  // what kind recommends for clusters of several nodes
	minWatches    = 8192 // the default of old kernels; newer ones go by the machine's memory
	goodWatches   = 65536
	bestWatches   = 524288 // what kind recommends
	// A node's /var starts as a copy of what the image has there, the images of the control plane among it.
	minDisk   = 5 << 30
	imageDisk = 3 << 30 // the node image itself, while it is pulled and unpacked
)

// Host is the machine podskew runs on, as far as kind cares.
type Host struct {
	Files    fs.FS // the root of its file system, for /proc
	Hostname string
	Kernel   string
	// Free says how many bytes are left where path lies.
	Free func(path string) (uint64, error)
}

// ThisHost is the machine we are on.
func ThisHost() Host {
	h := Host{Files: os.DirFS("/"), Free: func(path string) (uint64, error) {
		var s unix.Statfs_t
		if err := unix.Statfs(path, &s); err != nil {
			return 0, err
		}
		return s.Bavail * uint64(s.Bsize), nil
	}}
	h.Hostname, _ = os.Hostname()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = string(bytes.TrimRight(u.Release[:], "\x00"))
	}
	return h
}

// Local reports whether the engine's containers run on h itself, not on another machine or in a virtual one. Only then
// do h's limits say anything.
func (e *Engine) Local(h Host) bool { return e.Hostname == h.Hostname && e.Kernel == h.Kernel }

// Check says what would keep a cluster from starting (fatal) and what may make trouble (warnings). pulled is whether
// the node image still has to be pulled.
func (e *Engine) Check(h Host, pulled bool) (fatal, warnings []Error) {
	if e.Rootless && e.CgroupV1 {
		fatal = append(fatal, Error{"rootless " + e.Name + " cannot run kind's nodes under cgroup v1", "boot with systemd.unified_cgroup_hierarchy=1, or use a rootful engine"})
	}
	if e.CgroupV1 && !e.Rootless {
		warnings = append(warnings, Error{What: e.Name + " uses cgroup v1, which Kubernetes no longer supports by default: the kubelets are told to start all the same (failCgroupV1: false)"})
	}
	if !e.Local(h) {
		return fatal, warnings
	}
	limits := []struct {
		name            string
		min, good, best int
	}{{"max_user_instances", minInstances, goodInstances, goodInstances}, {"max_user_watches", minWatches, goodWatches, bestWatches}}
	for _, l := range limits {
		have, known := h.inotify(l.name)
		remedy := fmt.Sprintf("sysctl -w fs.inotify.%s=%d", l.name, l.best)
		switch {
		case !known || have >= l.good:
		case have < l.min:
			fatal = append(fatal, Error{fmt.Sprintf("fs.inotify.%s is %d, too low for %d nodes", l.name, have, nodeCount()), remedy})
		default:
			warnings = append(warnings, Error{fmt.Sprintf("fs.inotify.%s is %d, low for %d nodes: should one fail with \"too many open files\", it is this", l.name, have, nodeCount()), remedy})
		}
	}
	fatal = append(fatal, e.checkCapabilities(h)...)
	return append(fatal, e.checkDisk(h, pulled)...), warnings
}

// checkCapabilities looks whether this machine lets containers be privileged, as nodes have to be. What init may not
// have, nobody here may; so it is in machines that are containers themselves.
func (e *Engine) checkCapabilities(h Host) []Error {
	last, err := fs.ReadFile(h.Files, "proc/sys/kernel/cap_last_cap")
	status, statusErr := fs.ReadFile(h.Files, "proc/1/status")
	if err != nil || statusErr != nil || e.Rootless {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	_, after, found := strings.Cut(string(status), "\nCapBnd:")
	bound, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
	have, boundErr := strconv.ParseUint(bound, 16, 64)
	if err != nil || boundErr != nil || !found || n < 0 || n > 62 {
		return nil
	}
	if all := uint64(1)<<(n+1) - 1; have&all != all {
		return []Error{{
			fmt.Sprintf("%s cannot run privileged containers here, which kind's nodes are: capabilities are withheld from this machine (%x of %x)", e.Name, have&all, all),
			"--cluster lab, which needs no privileged containers; or another machine",
		}}
	}
	return nil
}

func (e *Engine) checkDisk(h Host, pulled bool) []Error {
	need := uint64(minDisk)
	if pulled {
		need += imageDisk
	}
	free, err := h.Free(e.Root)
	if err != nil || free >= need { // a folder only root may look at is no reason to refuse
		return nil
	}
	return []Error{{
		fmt.Sprintf("%s has %.1f GiB left, and %d nodes need about %d GiB", e.Root, float64(free)/(1<<30), nodeCount(), need>>30),
		fmt.Sprintf("\"%s system df\" says what takes the space", e.Name),
	}}
}

func (h Host) inotify(name string) (n int, known bool) {
	data, err := fs.ReadFile(h.Files, "proc/sys/fs/inotify/"+name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return n, err == nil
}
