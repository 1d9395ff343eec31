package cri

import "testing"

func TestCheckSysctls(t *testing.T) {
	for name, test := range map[string]struct {
		sysctl               string
		hostNetwork, hostIPC bool
		ok                   bool
	}{
		"a network parameter":                       {sysctl: "net.ipv4.tcp_fin_timeout", ok: true},
		"a network parameter with slashes":          {sysctl: "net/ipv4/conf/eth0.100/rp_filter", ok: true},
		"a network parameter in the node's network": {sysctl: "net.core.somaxconn", hostNetwork: true},
		"an IPC parameter":                          {sysctl: "kernel.msgmax", ok: true},
		"an IPC parameter in the node's IPC":        {sysctl: "fs.mqueue.msg_max", hostIPC: true},
		"semaphores":                                {sysctl: "kernel.sem", ok: true},
		"a parameter of the machine":                {sysctl: "vm.overcommit_memory"},
		"a parameter that starts like one":          {sysctl: "kernel.sem_next_id"},
		"a way out of the directory":                {sysctl: "net/../kernel/hostname"},
		"a way out of the directory with dots":      {sysctl: "net.//.kernel.hostname"},
		"an absolute path":                          {sysctl: "/net/core/somaxconn"},
	} {
		err := checkSysctls(map[string]string{test.sysctl: "1"}, test.hostNetwork, test.hostIPC)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.core.somaxconn":                "net/core/somaxconn",
		"net/core/somaxconn":                "net/core/somaxconn",
		"net.ipv4.conf.eth0/100.forwarding": "net/ipv4/conf/eth0.100/forwarding",
		"net/ipv4/conf/eth0.100/forwarding": "net/ipv4/conf/eth0.100/forwarding",
	} {
		if got := sysctlPath(name); got != want {
			t.Errorf("%s is at %s, want %s", name, got, want)
		}
	}
}
