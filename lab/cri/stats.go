package cri

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tick is the unit of CPU time in /proc; the kernel shows it as 1/100 s on every architecture.
const tick = 10 * time.Millisecond

// usage is what the processes of one PID namespace use.
type usage struct {
	cpu       time.Duration // since they started, with the children they have waited for
	resident  uint64        // bytes; pages shared by several processes count for each
	processes uint64
}

// ListContainerStats returns the use of CPU and memory of the running containers that pass the filter.
func (s *Server) ListContainerStats(_ context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	used := processUsage()
	resp := &runtimeapi.ListContainerStatsResponse{}
	for _, c := range s.containersOf(req.GetFilter().GetPodSandboxId()) {
		if id := req.GetFilter().GetId(); id != "" && id != c.id || !labelsPass(c.config.GetLabels(), req.GetFilter().GetLabelSelector()) {
			continue
		}
		if stats := c.stats(used); stats != nil {
			resp.Stats = append(resp.Stats, stats)
		}
	}
	return resp, nil
}

// ContainerStats returns the use of CPU and memory of one running container.
func (s *Server) ContainerStats(_ context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	stats := c.stats(processUsage())
	if stats == nil {
		return nil, status.Errorf(codes.NotFound, "container %q is not running", c.id)
	}
	return &runtimeapi.ContainerStatsResponse{Stats: stats}, nil
}

// ListPodSandboxStats returns the use of the running sandboxes that pass the filter.
func (s *Server) ListPodSandboxStats(_ context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	used := processUsage()
	resp := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, sb := range s.allSandboxes() {
		if id := req.GetFilter().GetId(); id != "" && id != sb.id ||
			!labelsPass(sb.config.GetLabels(), req.GetFilter().GetLabelSelector()) ||
			sb.state() != runtimeapi.PodSandboxState_SANDBOX_READY {
			continue
		}
		resp.Stats = append(resp.Stats, s.sandboxStats(sb, used))
	}
	return resp, nil
}

// PodSandboxStats returns the use of one sandbox.
func (s *Server) PodSandboxStats(_ context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	sb := s.sandbox(req.GetPodSandboxId())
	if sb == nil {
		return nil, status.Errorf(codes.NotFound, "sandbox %q not found", req.GetPodSandboxId())
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: s.sandboxStats(sb, processUsage())}, nil
}

// sandboxStats sums up the containers of a sandbox.
func (s *Server) sandboxStats(sb *sandbox, used map[string]usage) *runtimeapi.PodSandboxStats {
	linux := &runtimeapi.LinuxPodSandboxStats{}
	var total usage
	for _, c := range s.containersOf(sb.id) {
		stats := c.stats(used)
		if stats == nil {
			continue
		}
		linux.Containers = append(linux.Containers, stats)
		total.cpu += time.Duration(stats.Cpu.UsageCoreNanoSeconds.Value)
		total.resident += stats.Memory.WorkingSetBytes.Value
		total.processes += used[c.pidNamespace()].processes
	}
	now := time.Now().UnixNano()
	linux.Cpu, linux.Memory = total.cpuStats(now), total.memoryStats(now)
	linux.Process = &runtimeapi.ProcessUsage{Timestamp: now, ProcessCount: &runtimeapi.UInt64Value{Value: total.processes}}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: sb.id, Metadata: sb.config.GetMetadata(), Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(),
		},
		Linux: linux,
	}
}

// stats returns the use of a container; nil if it does not run.
func (c *container) stats(used map[string]usage) *runtimeapi.ContainerStats {
	u, ok := used[c.pidNamespace()]
	if !ok {
		return nil
	}
	now := time.Now().UnixNano()
	return &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id: c.id, Metadata: c.config.GetMetadata(), Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		},
		Cpu:    u.cpuStats(now),
		Memory: u.memoryStats(now),
	}
}

func (u usage) cpuStats(now int64) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: uint64(u.cpu)}}
}

func (u usage) memoryStats(now int64) *runtimeapi.MemoryUsage {
	resident := &runtimeapi.UInt64Value{Value: u.resident}
	return &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: resident, UsageBytes: resident, RssBytes: resident}
}

// pidNamespace names the PID namespace of a running container; "" if it does not run or has none of its own.
func (c *container) pidNamespace() string {
	c.mu.Lock()
	process := c.process
	c.mu.Unlock()
	if process == nil || c.hostPID() {
		return ""
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", process.Pid))
	if err != nil {
		return ""
	}
	return name
}

// processUsage returns what all processes of the node use, by PID namespace.
func processUsage() map[string]usage {
	used := map[string]usage{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return used
	}
	for _, dir := range dirs {
		// Processes may end at any time, and then some files are not there.
		name, err := os.Readlink(dir + "/ns/pid")
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		u := used[name]
		u.add(stat)
		used[name] = u
	}
	return used
}

// add adds one process by its line in /proc/PID/stat.
func (u *usage) add(stat []byte) {
	// The name, in parentheses, may hold anything; the numbers come after the last one.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return
	}
	fields := strings.Fields(string(stat[end+1:]))
	const utime, cstime, rss = 11, 14, 21 // of the fields after the name
	if len(fields) <= rss {
		return
	}
	for _, field := range fields[utime : cstime+1] {
		ticks, err := strconv.ParseUint(field, 10, 63)
		if err == nil {
			u.cpu += time.Duration(ticks) * tick
		}
	}
	if pages, err := strconv.ParseUint(fields[rss], 10, 63); err == nil {
		u.resident += pages * uint64(os.Getpagesize())
	}
	u.processes++
}
