package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/podnet"
)

// KubeconfigName is the caller's kubeconfig in the run directory.
const KubeconfigName = "kubeconfig"

// supervisor runs one lab.
type supervisor struct {
	config    Config
	nodes     []Node
	events    *eventWriter
	processes *processes
	balancers *balancers
	client    kubernetes.Interface
	log       *slog.Logger

	changing sync.Mutex // a node at a time
	ctx      context.Context
	lan      *podnet.LAN

	mu      sync.Mutex
	running []*runningNode // nil until the nodes' namespaces exist
	state   string         // of Status
}

// Super is the role that supervises the lab. It ends when a component does, with a failed event; ending the lab on
// request is its process 1's business. args: the number of inherited image files.
func Super(args []string) int {
	events := newEventWriter(os.NewFile(boot.FDEvents, "events"))
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := runSuper(args, events, log)
	failed := Event{Kind: EventFailed, Text: err.Error()}
	if c, ok := errors.AsType[*ComponentError](err); ok {
		failed.Log = c.Log
	}
	log.Error("the lab ends", "error", err)
	events.send(failed)
	return 1
}

// runSuper always returns an error: a lab has no good end of its own.
func runSuper(args []string, events *eventWriter, log *slog.Logger) error {
	if len(args) != 1 {
		return fmt.Errorf("want the number of images, got %d arguments", len(args))
	}
	images, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("reading the number of images: %w", err)
	}
	var config Config
	if err := json.NewDecoder(os.NewFile(boot.FDConfig, "config")).Decode(&config); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if want := fileCount(config.Images); images != want {
		return fmt.Errorf("got %d files of images, not %d", images, want)
	}
	host, err := inheritedListener(boot.FDListener)
	if err != nil {
		return err
	}
	control, err := inheritedListener(boot.FDControl)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(context.Background())
	s := &supervisor{
		config: config, nodes: Nodes(config.Workers), events: events, log: log,
		processes: newProcesses(fail), balancers: newBalancers(), state: StateStarting, ctx: ctx,
	}
	go s.serveControl(control)
	if err := s.start(ctx, host); err != nil {
		if ended := context.Cause(ctx); ended != nil {
			return ended // what broke the step that noticed
		}
		return err
	}
	s.setState(StateReady)
	events.send(Event{Kind: EventReady})
	go s.balance(ctx)
	go s.checkHealth(ctx)
	<-ctx.Done()
	s.setState(StateFailed)
	return context.Cause(ctx)
}

// start brings everything up, in an order that keeps two cores busy: while the API server starts, which takes most of
// the time, the network and the nodes' namespaces are made.
func (s *supervisor) start(ctx context.Context, host net.Listener) error {
	s.step("starting the control plane")
	if err := makeDirs(); err != nil {
		return err
	}
	lan, err := newLAN(s.nodes)
	if err != nil {
		return err
	}
	s.lan = lan
	if err := s.processes.start(ctx, "etcd", etcdArgs(), nil); err != nil {
		return err
	}
	gates, err := newGates()
	if err != nil {
		return err
	}
	if err := s.processes.start(ctx, "kube-apiserver", apiServerArgs(), gates.apiServer); err != nil {
		return err
	}
	credentials, err := newCredentials(s.nodes)
	if err != nil {
		return fmt.Errorf("making the credentials: %w", err)
	}
	// An API server that finds no etcd tries again only after a second.
	if err := s.await(ctx, "etcd", etcdListens); err != nil {
		return err
	}
	gates.apiServer.Open()
	if err := copyImages(fileCount(s.config.Images)); err != nil {
		return err
	}
	if err := s.startNodes(ctx, lan); err != nil {
		return err
	}
	if err := s.startHeld(ctx, gates); err != nil {
		return err
	}
	go relay(host, controlPlaneIP+":6443")
	if err := s.connect(ctx); err != nil {
		return err
	}
	s.step("starting the nodes")
	if err := s.startRest(ctx, gates); err != nil {
		return err
	}
	s.step("waiting until the nodes are ready")
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	admin := identity{user: "kubernetes-admin", groups: []string{adminGroup}}
	return credentials.writeKubeconfig(boot.RunDir+"/"+KubeconfigName, s.config.HostServer, admin)
}

func makeDirs() error {
	for _, dir := range []string{logsDir, boot.Base + "/etcd", boot.Base + "/images"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// connect makes the client and waits for the API server to answer it.
func (s *supervisor) connect(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfigFile("admin"))
	if err != nil {
		return err
	}
	// The supervisor shares the API server with nobody at this time; throttling itself would only delay the start.
	config.QPS, config.Burst = -1, 0
	config.UserAgent = "podskew-lab"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.WarningHandler = rest.NoWarnings{}
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	return s.await(ctx, "the API server to answer", s.apiServerAnswers)
}

// gates are those of the control plane's components.
type gates struct{ apiServer, controllerManager, scheduler, dns *boot.Gate }

func newGates() (g gates, err error) {
	for _, gate := range []**boot.Gate{&g.apiServer, &g.controllerManager, &g.scheduler, &g.dns} {
		if *gate, err = boot.NewGate(); err != nil {
			return g, err
		}
	}
	return g, nil
}

// startHeld starts what needs the API server, to wait until there is one.
func (s *supervisor) startHeld(ctx context.Context, g gates) error {
	return errors.Join(
		s.processes.start(ctx, "kube-controller-manager", controllerManagerArgs(), g.controllerManager),
		s.processes.start(ctx, "kube-scheduler", schedulerArgs(), g.scheduler),
		s.processes.start(ctx, "dns", dnsArgs(), g.dns),
	)
}

// startRest creates the first objects and lets go what waits for them. kube-proxy, the scheduler and the DNS have their rights from
// roles, for which the API server takes another two seconds; who is refused before that sleeps as long. The kubelets and the
// controller manager need none, and use the time.
func (s *supervisor) startRest(ctx context.Context, g gates) error {
	if err := s.await(ctx, "the nodes to be created", s.createNodes); err != nil {
		return err
	}
	if err := s.release(kubeletName); err != nil {
		return err
	}
	g.controllerManager.Open()
	if err := s.await(ctx, "the cluster DNS to be created", s.createDNSObjects); err != nil {
		return err
	}
	if err := s.await(ctx, "the API server's roles", s.rolesThere); err != nil {
		return err
	}
	if err := s.release(proxyName); err != nil {
		return err
	}
	g.dns.Open()
	g.scheduler.Open()
	return nil
}

func (s *supervisor) step(text string) {
	s.log.Info(text)
	s.events.send(Event{Kind: EventStep, Text: text})
}

func (s *supervisor) setState(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func inheritedListener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close()
	listener, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("using the inherited listener %d: %w", fd, err)
	}
	return listener, nil
}
