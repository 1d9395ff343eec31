// Package components runs one unmodified part of Kubernetes, or etcd, as the whole of a process.
//
// Each part has a process of its own: their commands set process-wide feature gates and metric registries, and one
// that crashes takes no other with it.
package components

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the flag --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information on /metrics
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/podskew/podskew/lab/boot"
)

// Start-up allocates fast and keeps most of it; collecting less often then saves a fifth of the time. Afterwards a dozen
// processes share what may be two processors, and runs are made one after the other: a series of them takes some 3 % less time at 200
// than at 75, and the lab 5 % more memory.
const (
	startPercent  = 400
	steadyPercent = 200
	startTime     = 15 * time.Second
)

// RelaxGC collects garbage rarely while the process starts, and still less often than usual afterwards.
func RelaxGC() {
	debug.SetGCPercent(startPercent)
	time.AfterFunc(startTime, func() {
		debug.SetGCPercent(steadyPercent)
		debug.FreeOSMemory()
	})
}

// RunCommand runs a component's own command with the arguments, once its gate is open, and returns its exit status.
func RunCommand(c *cobra.Command, args []string) int {
	RelaxGC()
	c.SetArgs(args)
	boot.AwaitGate()
	return cli.Run(c)
}

// APIServer is kube-apiserver.
func APIServer(args []string) int { return RunCommand(apiserver.NewAPIServerCommand(), args) }

// ControllerManager is kube-controller-manager.
func ControllerManager(args []string) int {
	return RunCommand(controllermanager.NewControllerManagerCommand(), args)
}

// Scheduler is kube-scheduler.
func Scheduler(args []string) int { return RunCommand(scheduler.NewSchedulerCommand(), args) }

// Proxy is kube-proxy.
func Proxy(args []string) int { return RunCommand(proxy.NewProxyCommand(), args) }

// Etcd serves clients at the URL and keeps its data in the directory. args: URL, directory.
func Etcd(args []string) int {
	if err := runEtcd(args); err != nil {
		fmt.Fprintf(os.Stderr, "etcd: %v\n", err)
		return 1
	}
	return 0
}

func runEtcd(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a URL and a directory, got %d arguments", len(args))
	}
	RelaxGC()
	client, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config := embed.NewConfig()
	config.Dir = args[1]
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls = []url.URL{peer}
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true // the data is on a tmpfs
	// The struct's own default of 0 warns about every single request.
	config.WarningUnaryRequestDuration = time.Second
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return fmt.Errorf("the server stopped")
	case <-end:
		return nil
	}
}
