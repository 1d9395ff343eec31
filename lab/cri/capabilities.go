package cri

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// capabilitySet is a bit for each capability number.
type capabilitySet uint64

// allCapabilities are those of a privileged container; the kernel knows fewer.
const allCapabilities = ^capabilitySet(0)

// capabilityNumbers are the kernel's; they never change.
func capabilityNumbers() map[string]int {
	names := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
		LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
		SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
		AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON
		BPF CHECKPOINT_RESTORE`)
	numbers := make(map[string]int, len(names))
	for number, name := range names {
		numbers[name] = number
	}
	return numbers
}

// defaultCapabilities are those that container engines give a container that asks for nothing.
func defaultCapabilities() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
		NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE`)
}

// grantedCapabilities are what a container may have, and what it has without being root.
type grantedCapabilities struct {
	bounding, ambient capabilitySet
}

// capabilities works out the sets of a security context. ALL is added or dropped first, then the single names. Added
// capabilities are ambient as well, so that a user other than root has them too. (Container engines leave that to file
// capabilities: what is meant to run on other clusters as well runs as root when it needs one.)
func capabilities(security *runtimeapi.LinuxContainerSecurityContext) (grantedCapabilities, error) {
	if security.GetPrivileged() {
		return grantedCapabilities{bounding: allCapabilities}, nil
	}
	asked := security.GetCapabilities()
	var sets [4]capabilitySet
	var all [4]bool
	for i, names := range [][]string{
		defaultCapabilities(), asked.GetAddCapabilities(), asked.GetDropCapabilities(), asked.GetAddAmbientCapabilities(),
	} {
		var err error
		if sets[i], all[i], err = capabilityBits(names); err != nil {
			return grantedCapabilities{}, err
		}
	}
	base, add, drop, ambient := sets[0], sets[1], sets[2], sets[3]
	if all[1] {
		base = allCapabilities
	}
	if all[2] {
		base = 0
	}
	base = (base | add) &^ drop
	return grantedCapabilities{bounding: base, ambient: (add | ambient) & base}, nil
}

// capabilityBits reads names with or without CAP_, in any case; all tells whether ALL is among them.
func capabilityBits(names []string) (set capabilitySet, all bool, err error) {
	numbers := capabilityNumbers()
	for _, name := range names {
		upper := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if upper == "ALL" {
			all = true
			continue
		}
		number, ok := numbers[upper]
		if !ok {
			known := slices.Sorted(maps.Keys(numbers))
			return 0, false, fmt.Errorf("capability %q is not known; there are ALL, %s", name, strings.Join(known, ", "))
		}
		set |= 1 << number
	}
	return set, all, nil
}
