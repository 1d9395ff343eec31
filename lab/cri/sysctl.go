package cri

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultSysctls are what container runtimes set for every pod: ports below 1024 and ping without root.
func defaultSysctls() map[string]string {
	return map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
}

// checkSysctls refuses those that are not the pod's own.
func checkSysctls(sysctls map[string]string, hostNetwork, hostIPC bool) error {
	for _, name := range slices.Sorted(maps.Keys(sysctls)) {
		path := sysctlPath(name)
		switch {
		case path != filepath.Clean(path):
			return fmt.Errorf("sysctl %q is not a valid name", name)
		case strings.HasPrefix(path, "net/"):
			if hostNetwork {
				return fmt.Errorf("sysctl %s: a pod in the node's network namespace cannot have its own", name)
			}
		case strings.HasPrefix(path, "kernel/shm"), strings.HasPrefix(path, "kernel/msg"), path == "kernel/sem",
			strings.HasPrefix(path, "fs/mqueue/"):
			if hostIPC {
				return fmt.Errorf("sysctl %s: a pod in the node's IPC namespace cannot have its own", name)
			}
		default:
			return fmt.Errorf("sysctl %s belongs to the whole machine, not to a pod", name)
		}
	}
	return nil
}

// sysctlPath returns the path below /proc/sys. A name may be written with dots or slashes between its parts, and then
// means by the other character the first one in a part: net.ipv4.conf.eth0/100.forwarding.
func sysctlPath(name string) string {
	if first := strings.IndexAny(name, "./"); first >= 0 && name[first] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// applySysctls writes the pod's kernel parameters. Defaults are set as far as allowed.
func applySysctls(ns podNamespaces, sysctls map[string]string) error {
	return onOwnThread(func() error {
		if err := ns.enter(); err != nil {
			return err
		}
		if ns.net != nil {
			for name, value := range defaultSysctls() {
				_ = writeSysctl(name, value)
			}
		}
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(sysctls)) {
			if err := writeSysctl(name, sysctls[name]); err != nil {
				errs = append(errs, fmt.Errorf("setting sysctl %s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

// writeSysctl writes one; /proc/sys shows the values of the calling thread's namespaces.
func writeSysctl(name, value string) error {
	f, err := os.OpenFile(filepath.Join("/proc/sys", sysctlPath(name)), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
