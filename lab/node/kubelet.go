// Package node runs a node's kubelet, unmodified, with the lab's own container runtime in the same process.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/logs"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cluster"
	"github.com/podskew/podskew/lab/components"
	"github.com/podskew/podskew/lab/cri"
	"github.com/podskew/podskew/lab/podnet"
)

// Places in the node's own mount namespace; all are on its tmpfs.
const (
	kubeletDir    = "/run/kubelet"
	runtimeDir    = "/run/lab-cri"
	runtimeSocket = "/run/lab-cri.sock"
	podLogsDir    = "/var/log/pods"
)

// imageUser runs the lab's images: the usual number for "nonroot".
const imageUser = 65532

// Main is the role: it reads the configuration file in args and runs until the node's process 1 ends it.
func Main(args []string) int {
	if err := runFile(args); err != nil {
		fmt.Fprintf(os.Stderr, "kubelet: %v\n", err)
		return 1
	}
	return 0
}

func runFile(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one configuration file, got %d arguments", len(args))
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var config cluster.KubeletConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("reading %s: %w", args[0], err)
	}
	components.RelaxGC()
	return run(context.Background(), config)
}

// run runs the container runtime and the kubelet until one of them ends or ctx does.
func run(ctx context.Context, c cluster.KubeletConfig) error {
	server, err := newRuntime(c)
	if err != nil {
		return fmt.Errorf("preparing the container runtime: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- fmt.Errorf("container runtime: %w", server.Serve(ctx)) }()
	if err := awaitFile(ctx, runtimeSocket); err != nil {
		return err
	}
	go func() { ended <- fmt.Errorf("kubelet: %w", runKubelet(ctx, c)) }()
	return <-ended
}

func newRuntime(c cluster.KubeletConfig) (*cri.Server, error) {
	var network cri.Network = podnet.None{}
	if c.PodCIDR.IsValid() {
		pods, err := podnet.NewPods(c.PodCIDR)
		if err != nil {
			return nil, err
		}
		network = pods
	}
	return cri.New(cri.Options{
		Socket: runtimeSocket, StateDir: runtimeDir, NodeName: c.Name, Network: network, Images: images(c.Images),
		StreamAddr: "127.0.0.1:0", IgnoreUser: c.IgnoreUser,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

func images(files []cluster.KubeletImage) []cri.Image {
	var out []cri.Image
	for _, f := range files {
		image := cri.Image{
			Name: f.Name, ID: f.ID, Files: map[string]string{f.Path: f.Source}, Entrypoint: []string{f.Path}, UID: imageUser,
		}
		for i, path := range f.Libraries {
			image.Files[path] = f.LibrarySources[i]
		}
		out = append(out, image)
	}
	return out
}

// awaitFile waits until the runtime's socket is there; it appears within milliseconds or never.
func awaitFile(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", path, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func runKubelet(ctx context.Context, c cluster.KubeletConfig) error {
	logs.InitLogs()
	defer logs.FlushLogs()
	server, err := kubeletServer(c)
	if err != nil {
		return err
	}
	gates := utilfeature.DefaultMutableFeatureGate
	if err := gates.SetFromMap(server.FeatureGates); err != nil {
		return fmt.Errorf("setting feature gates: %w", err)
	}
	return runWith(ctx, c, server, gates)
}

func runWith(ctx context.Context, c cluster.KubeletConfig, server *options.KubeletServer, gates featuregate.FeatureGate) error {
	deps, err := kubeletapp.UnsecuredDependencies(ctx, server, gates)
	if err != nil {
		return fmt.Errorf("preparing the kubelet: %w", err)
	}
	deps.CAdvisorInterface = machine{name: c.Name}
	deps.ContainerManager = containerManager{cm.NewStubContainerManager()}
	boot.AwaitGate()
	return kubeletapp.Run(ctx, server, deps, gates)
}

// kubeletServer returns the kubelet's flags and configuration.
func kubeletServer(c cluster.KubeletConfig) (*options.KubeletServer, error) {
	flags := options.NewKubeletFlags()
	flags.RootDirectory = kubeletDir
	flags.CertDirectory = kubeletDir + "/pki"
	flags.HostnameOverride = c.Name
	flags.NodeIP = c.Address.String()
	flags.KubeConfig = c.Kubeconfig
	config, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	configure(config, c)
	return &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}, nil
}

// openFiles is the limit that the kubelet sets itself: what it may have, because raising it takes root of the machine.
func openFiles() int64 {
	const usual = 1 << 20
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return usual
	}
	return int64(min(limit.Max, usual))
}

func configure(k *kubeletconfig.KubeletConfiguration, c cluster.KubeletConfig) {
	k.ContainerRuntimeEndpoint = "unix://" + runtimeSocket
	k.Address = "0.0.0.0"
	k.ReadOnlyPort = 0
	k.StaticPodPath = ""
	k.PodLogsDir = podLogsDir
	k.VolumePluginDir = kubeletDir + "/volumeplugins"

	k.TLSCertFile, k.TLSPrivateKeyFile = c.CertFile, c.KeyFile
	k.RotateCertificates = false
	k.Authentication.X509.ClientCAFile = c.CAFile
	k.Authentication.Anonymous.Enabled = false
	k.Authentication.Webhook.Enabled = true
	k.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook

	k.ClusterDNS = []string{c.ClusterDNS}
	k.ClusterDomain = c.Domain
	k.ResolverConfig = "" // the machine's own name servers cannot be reached from the lab

	// There are no cgroups: nothing is limited, nothing is evicted, no image is ever collected.
	k.CgroupsPerQOS = false
	k.EnforceNodeAllocatable = nil
	k.EvictionHard = map[string]string{}
	k.LocalStorageCapacityIsolation = false
	k.FailSwapOn = false
	k.FailCgroupV1 = false
	k.ImageGCHighThresholdPercent, k.ImageGCLowThresholdPercent = 100, 99
	k.SerializeImagePulls = false
	k.MaxOpenFiles = openFiles()
	k.MakeIPTablesUtilChains = false

	// Without it the kubelet insists on /dev/kmsg and kernel settings that a user namespace cannot have. It changes
	// nothing else, so it is on for every lab.
	k.FeatureGates = map[string]bool{"KubeletInUserNamespace": true}
	k.NodeStatusUpdateFrequency = metav1.Duration{Duration: 10 * time.Second}
	k.SyncFrequency = metav1.Duration{Duration: 10 * time.Second}
}
