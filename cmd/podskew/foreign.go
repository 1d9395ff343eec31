package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/scenarios"
)

// What a run may load a cluster with that is somebody else's, unless its flags say more.
const (
	foreignConnections = 200
	foreignRate        = 1000 // requests per second
)

// foreignOptions are the flags of run that matter where the cluster is not podskew's own.
type foreignOptions struct {
	pullPolicy     string
	tolerate       []string
	nodeSelector   []string
	hostNetwork    bool
	maxConnections int     // 0: no limit
	maxRate        float64 // requests per second in all; 0: no limit

	gatewayImage []string // PROXY=IMAGE

	tolerations []cluster.Toleration // parsed
	gateways    map[string]string    // likewise: proxy → image
	labels      map[string]string
}

func (o *foreignOptions) foreignFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.pullPolicy, "image-pull-policy", "", "Always, IfNotPresent or Never (default IfNotPresent)")
	flags.StringArrayVar(&o.tolerate, "tolerate", nil, "let pods onto nodes with this taint: KEY[=VALUE][:EFFECT]; may be repeated")
	flags.StringArrayVar(&o.nodeSelector, "node-selector", nil, "use only nodes with this label: KEY=VALUE; may be repeated")
	flags.BoolVar(&o.hostNetwork, "allow-host-network", false, "with --cluster current: allow clients on the nodes' network (vantage node and external), whose namespace Pod Security must let be privileged")
	flags.IntVar(&o.maxConnections, "max-connections", 0, fmt.Sprintf("refuse scenarios with more connections at a time (default %d with --cluster current, else no limit; 0: no limit)", foreignConnections))
	flags.Float64Var(&o.maxRate, "max-rate", 0, fmt.Sprintf("hold the load to so many requests per second in all (default %d with --cluster current, else no limit; 0: no limit)", foreignRate))
	flags.StringArrayVar(&o.gatewayImage, "gateway-image", nil, "image of a gateway's pods: caddy=IMAGE, haproxy=IMAGE or nginx=IMAGE (default the official ones, on the lab what is installed here); may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("image-pull-policy", cobra.FixedCompletions(pullPolicies(), cobra.ShellCompDirectiveNoFileComp))
}

func pullPolicies() []string { return []string{"Always", "IfNotPresent", "Never"} }

// complete checks the flags and fills in what holds on this kind of cluster. given says which flags were.
func (o *foreignOptions) complete(kind string, given func(flag string) bool) error {
	if o.pullPolicy != "" && !slices.Contains(pullPolicies(), o.pullPolicy) {
		return usageError("--image-pull-policy %q: write %s", o.pullPolicy, strings.Join(pullPolicies(), ", "))
	}
	if o.maxConnections < 0 || o.maxRate < 0 || o.maxRate > 0 && o.maxRate < 1 || o.maxRate > 1e9 {
		return usageError("--max-connections and --max-rate: write 1 or more, or 0 for no limit")
	}
	for _, s := range o.tolerate {
		t, err := cluster.ParseToleration(s)
		if err != nil {
			return usageError("--tolerate: %w", err)
		}
		o.tolerations = append(o.tolerations, t)
	}
	for _, s := range o.nodeSelector {
		key, value, err := cluster.ParseNodeSelector(s)
		if err != nil {
			return usageError("--node-selector: %w", err)
		}
		if o.labels == nil {
			o.labels = map[string]string{}
		}
		o.labels[key] = value
	}
	if err := o.parseGateways(); err != nil {
		return err
	}
	if kind != "current" {
		return nil
	}
	if !given("max-connections") {
		o.maxConnections = foreignConnections
	}
	if !given("max-rate") {
		o.maxRate = foreignRate
	}
	return nil
}

// parseGateways reads the images of gateways.
func (o *foreignOptions) parseGateways() error {
	known := []string{scenarios.ProxyCaddy, scenarios.ProxyHAProxy, scenarios.ProxyNginx}
	for _, s := range o.gatewayImage {
		proxy, image, _ := strings.Cut(s, "=")
		if !slices.Contains(known, proxy) || image == "" {
			return usageError("--gateway-image %q: write PROXY=IMAGE, with one of %s", s, strings.Join(known, ", "))
		}
		if o.gateways == nil {
			o.gateways = map[string]string{}
		}
		o.gateways[proxy] = image
	}
	return nil
}

// admit refuses a scenario that would do more to the cluster than it may.
func (o *foreignOptions) admit(kind string, s *scenarios.Scenario) error {
	if n := connections(s); o.maxConnections > 0 && n > o.maxConnections {
		return &exitError{
			err:  fmt.Errorf("%s opens %d connections at a time, %d are allowed on this cluster", s.Metadata.Name, n, o.maxConnections),
			code: exitUsage, hint: fmt.Sprintf("--max-connections %d allows them", n),
		}
	}
	if rate := openRate(s); o.maxRate > 0 && rate > o.maxRate {
		return &exitError{
			err:  fmt.Errorf("%s sends up to %g requests per second, %g are allowed on this cluster", s.Metadata.Name, rate, o.maxRate),
			code: exitUsage, hint: fmt.Sprintf("--max-rate %g allows them", rate),
		}
	}
	if kind != "current" || o.hostNetwork {
		return nil
	}
	for _, c := range s.Spec.Clients {
		if c.Vantage == scenarios.VantageNode || c.Vantage == scenarios.VantageExternal {
			return &exitError{
				err: fmt.Errorf("%s: client %s has vantage %s: its pods would stand on the nodes' network, which Pod Security's restricted level forbids",
					s.Metadata.Name, c.Name, c.Vantage),
				code: exitUsage, hint: "--allow-host-network allows that, in a namespace of level privileged that is gone after the run",
			}
		}
	}
	return nil
}

// connections is how many a scenario opens at a time.
func connections(s *scenarios.Scenario) int {
	n := 0
	for _, c := range s.Spec.Clients {
		n += max(c.Count, 1) * c.Connections
	}
	return n
}

// openRate is the most requests per second that the clients with a rate of their own send together.
func openRate(s *scenarios.Scenario) float64 {
	sum := 0.0
	for _, c := range s.Spec.Clients {
		sum += float64(max(c.Count, 1)) * peakRate(c)
	}
	return sum
}

// words say what holds the load, for people whose cluster it is.
func (o *foreignOptions) words() string {
	limits := make([]string, 0, 2)
	if o.maxConnections > 0 {
		limits = append(limits, fmt.Sprintf("%s at a time (--max-connections)", count(o.maxConnections, "connection")))
	}
	if o.maxRate > 0 {
		limits = append(limits, fmt.Sprintf("%g requests/s (--max-rate)", o.maxRate))
	}
	if len(limits) == 0 {
		return "no limits"
	}
	return "at most " + strings.Join(limits, " and ")
}
