package node

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	cadvisorapi "github.com/google/cadvisor/info/v1"
	cadvisorapiv2 "github.com/google/cadvisor/info/v2"
	"golang.org/x/sys/unix"
)

// machine tells the kubelet about the machine in place of cAdvisor, which needs cgroups. Every node claims the whole
// machine; nothing enforces it.
type machine struct{ name string }

// Start has nothing to start.
func (machine) Start() error { return nil }

// ContainerInfoV2 knows of no container.
func (machine) ContainerInfoV2(
	string, cadvisorapiv2.RequestOptions,
) (map[string]cadvisorapiv2.ContainerInfo, error) {
	return map[string]cadvisorapiv2.ContainerInfo{}, nil
}

// GetRequestedContainersInfo knows of no container.
func (machine) GetRequestedContainersInfo(
	string, cadvisorapiv2.RequestOptions,
) (map[string]*cadvisorapi.ContainerInfo, error) {
	return map[string]*cadvisorapi.ContainerInfo{}, nil
}

// MachineInfo returns what becomes the node's capacity.
func (m machine) MachineInfo() (*cadvisorapi.MachineInfo, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, fmt.Errorf("reading the machine's memory: %w", err)
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return &cadvisorapi.MachineInfo{
		NumCores: runtime.NumCPU(), MemoryCapacity: info.Totalram * uint64(info.Unit),
		InstanceID: cadvisorapi.InstanceID(m.name), MachineID: m.name, SystemUUID: m.name,
		BootID: strings.TrimSpace(string(boot)),
	}, nil
}

// VersionInfo returns the kernel's and the system's names, as kubectl shows them.
func (machine) VersionInfo() (*cadvisorapi.VersionInfo, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("reading the kernel's version: %w", err)
	}
	return &cadvisorapi.VersionInfo{
		KernelVersion: unix.ByteSliceToString(uts.Release[:]), ContainerOsVersion: "podskew lab",
	}, nil
}

// ImagesFsInfo reports no usage.
func (machine) ImagesFsInfo(context.Context) (cadvisorapiv2.FsInfo, error) { return fsInfo(), nil }

// RootFsInfo reports no usage.
func (machine) RootFsInfo() (cadvisorapiv2.FsInfo, error) { return fsInfo(), nil }

// ContainerFsInfo reports no usage.
func (machine) ContainerFsInfo(context.Context) (cadvisorapiv2.FsInfo, error) { return fsInfo(), nil }

// GetDirFsInfo reports no usage.
func (machine) GetDirFsInfo(string) (cadvisorapiv2.FsInfo, error) { return fsInfo(), nil }

// fsInfo is a plausible empty disk: zero capacity raises an InvalidDiskCapacity event on every node.
func fsInfo() cadvisorapiv2.FsInfo {
	const size = 64 << 30
	return cadvisorapiv2.FsInfo{Device: "tmpfs", Capacity: size, Available: size}
}
