// Package dns is the lab's cluster DNS server. It answers what the Kubernetes DNS specification (version 1.1.0) asks for,
// with CoreDNS's habits where the specification leaves a choice: a TTL of five seconds, address records in a new random
// order for every answer (CoreDNS calls that round_robin), NXDOMAIN for a headless Service without ready endpoints, and
// endpoints without a hostname named after their address (10-78-1-2).
//
// It differs from kubeadm's CoreDNS in four things. There is no answer cache, so the order and the endpoints of every
// answer are fresh. The deprecated pod records (1-2-3-4.namespace.pod.cluster.local) do not exist. A namespace exists in
// DNS when it holds a Service. And without upstream servers, names outside the cluster are refused, except the ones that
// a search list leaves over (see [zone.leftOver]), which do not exist.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// defaultDomain is Kubernetes' own default for the cluster domain.
const defaultDomain = "cluster.local"

// syncTimeout bounds the wait for the first list of Services and EndpointSlices. The API server may be starting at the
// same time; one that has not come up after this long will not.
const syncTimeout = 2 * time.Minute

// Options say what to serve and where.
type Options struct {
	// Kubeconfig is the path of a kubeconfig whose user may list and watch Services and EndpointSlices in all
	// namespaces.
	Kubeconfig string
	// Domain is the cluster domain, with or without a final dot. Empty means cluster.local.
	Domain string
	// Listen holds the addresses (ip:port) to answer on, each over UDP and TCP. At least one is needed. Port 0 picks a
	// port that is free for both.
	Listen []string
	// Upstream holds the servers (ip or ip:port) that names outside the cluster are forwarded to, in order of
	// preference. Empty means that such names are refused.
	Upstream []string
	// Seed makes the order of address records repeatable. 0 draws a seed.
	Seed uint64
	// Logger receives the server's diagnostics. Nil discards them.
	Logger *slog.Logger
}

// Run serves DNS until ctx ends, and returns nil then. The sockets are bound at once, so a taken port is an early error;
// questions that arrive before Services and EndpointSlices are known wait in the socket buffers and are answered after
// that, at which point "cluster DNS ready" is logged.
func Run(ctx context.Context, o Options) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading kubeconfig for cluster DNS: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("creating the cluster DNS client: %w", err)
	}
	return run(ctx, o, client, func([]net.Addr) {})
}

// run is Run with a given client; ready is called with the bound UDP addresses as soon as questions are answered.
func run(ctx context.Context, o Options, client kubernetes.Interface, ready func([]net.Addr)) error {
	o, err := withDefaults(o)
	if err != nil {
		return err
	}
	sockets, err := bind(ctx, o.Listen)
	if err != nil {
		return err
	}
	defer sockets.close()

	// The informers' goroutines end with this context, whichever way run ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names, stop, err := watch(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	defer cancel()

	syncCtx, cancelSync := context.WithTimeout(ctx, syncTimeout)
	defer cancelSync()
	if !names.waitForSync(syncCtx) {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("listing Services and EndpointSlices: nothing after %v; is the API server up and may this user list them?", syncTimeout)
	}
	h := &handler{
		zone:   &zone{domain: dns.CanonicalName(o.Domain), names: names, servers: sockets.addresses()},
		random: rand.New(rand.NewPCG(o.Seed, o.Seed)), //nolint:gosec // the order of answers is no secret
		logger: o.Logger,
	}
	if len(o.Upstream) > 0 {
		h.forward = newForwarder(o.Upstream)
	}
	return sockets.serve(ctx, h, func(addrs []net.Addr) {
		o.Logger.Info("cluster DNS ready", "domain", o.Domain, "listen", o.Listen, "upstream", o.Upstream)
		ready(addrs)
	})
}

// withDefaults fills in what o leaves open and rejects what cannot work.
func withDefaults(o Options) (Options, error) {
	if o.Domain == "" {
		o.Domain = defaultDomain
	}
	o.Domain = strings.ToLower(strings.Trim(o.Domain, "."))
	if _, ok := dns.IsDomainName(o.Domain); !ok || o.Domain == "" {
		return o, fmt.Errorf("cluster domain %q is no domain name", o.Domain)
	}
	if len(o.Listen) == 0 {
		return o, errors.New("cluster DNS has no address to listen on")
	}
	upstream := make([]string, 0, len(o.Upstream))
	for _, server := range o.Upstream {
		if _, _, err := net.SplitHostPort(server); err != nil {
			server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
		}
		upstream = append(upstream, server)
	}
	o.Upstream = upstream
	for o.Seed == 0 {
		o.Seed = rand.Uint64() //nolint:gosec // the order of answers is no secret
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
