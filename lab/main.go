// Command podskew-lab runs a Kubernetes cluster in network namespaces of this machine: real control plane, kubelets
// and kube-proxies, with processes in place of containers.
//
// The same binary is every process of the cluster: its first argument then names the role. Package boot takes the
// roles that must start fast before this main function is reached.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cli"
	"github.com/podskew/podskew/lab/cluster"
	"github.com/podskew/podskew/lab/components"
	"github.com/podskew/podskew/lab/dns"
	"github.com/podskew/podskew/lab/launch"
	"github.com/podskew/podskew/lab/node"
)

// version is set by the linker.
var version = "dev"

func main() {
	if len(os.Args) > 1 {
		if run := role(os.Args[1]); run != nil {
			os.Exit(run(os.Args[2:]))
		}
	}
	os.Exit(cli.Main(context.Background(), cli.Process{
		Version: version, Args: os.Args[1:], Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}

// role returns the role of a process inside a lab; nil for the command line.
func role(name string) func(args []string) int {
	switch name {
	case boot.RoleSuper:
		return cluster.Super
	case launch.RoleProbe:
		return launch.Probe
	case cluster.RoleEtcd:
		return components.Etcd
	case cluster.RoleAPIServer:
		return components.APIServer
	case cluster.RoleControllerManager:
		return components.ControllerManager
	case cluster.RoleScheduler:
		return components.Scheduler
	case cluster.RoleProxy:
		return components.Proxy
	case cluster.RoleKubelet:
		return node.Main
	case cluster.RoleDNS:
		return runDNS
	}
	return nil
}

// runDNS serves the cluster DNS. args: kubeconfig, cluster domain, address to listen on.
func runDNS(args []string) int {
	if len(args) != 3 {
		return 2
	}
	boot.AwaitGate()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := dns.Run(ctx, dns.Options{
		Kubeconfig: args[0], Domain: args[1], Listen: []string{args[2]},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "dns: %v\n", err)
		return 1
	}
	return 0
}
