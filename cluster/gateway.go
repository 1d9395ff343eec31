package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

// A gateway is a layer 7 proxy in front of the echo pods: pods of its own, each on a node that is decided beforehand like
// an agent's, behind a Service of its own. It listens on a second port, too, behind which it asks the canary: what answers
// there says that the nodes the gateway's pods are on have programmed the run's endpoints (see canary.go).

const (
	roleGateway = "gateway"

	serviceGateway  = "gateway"   // in front of the gateway's pods
	serviceUpstream = "echo-pods" // headless: the name by which a gateway finds the echo pods

	gatewayConfig    = "gateway" // the ConfigMap
	gatewayConfigDir = "/etc/gateway"

	// gatewayProbe is the path that says that a gateway can serve.
	gatewayProbe = "/podskew-gateway"

	annotationImages = "podskew.dev/images" // of the lab's nodes: the images that they have
)

// gatewayPort is what clients of a gateway dial, gatewayCanary what leads to the canary.
func gatewayPort() port { return port{"http", corev1.ProtocolTCP, 80, 8080} }

func gatewayCanary() port { return port{"canary", corev1.ProtocolTCP, 81, 8081} }

// gatewayPod is one pod of the gateway.
type gatewayPod struct {
	name, node string
	tolerate   bool // the scenario names the node
}

// placeGateway decides where the gateway's pods stand: on the node that is named, or on the worker nodes in turn.
func (l *layout) placeGateway(g *scenarios.Gateway) error {
	if g == nil {
		return nil
	}
	where := l.workers
	if g.Node != "" {
		n, err := l.resolve(g.Node)
		if err != nil {
			return fmt.Errorf("spec.gateway.node: %w", err)
		}
		if n.external {
			return fmt.Errorf("spec.gateway.node: node %q is set apart for external clients and takes no gateway", n.name)
		}
		where = []string{n.name}
	}
	for i := range max(g.Replicas, 1) {
		l.gateways = append(l.gateways, gatewayPod{fmt.Sprintf("gateway-%d", i), where[i%len(where)], g.Node != ""})
	}
	return nil
}

// gatewayImages are the proxies' official images, for clusters that can pull. They are pinned to a version, and not to a
// digest, since mirrors have others.
func gatewayImages() map[string]string {
	return map[string]string{
		scenarios.ProxyCaddy:   "docker.io/library/caddy:2.10.2",
		scenarios.ProxyHAProxy: "docker.io/library/haproxy:3.2.4",
		scenarios.ProxyNginx:   "docker.io/library/nginx:1.28.0",
	}
}

// labGatewayImage is the image that the lab makes of a proxy that is installed on its machine.
func labGatewayImage(proxy string) string { return "podskew.dev/" + proxy + ":lab" }

// gatewayImage is the image of the gateway's pods.
func (r *Run) gatewayImage() string {
	proxy := r.d.Scenario.Spec.Gateway.Proxy
	if r.c.provider == "lab" {
		return cmp.Or(r.d.GatewayImages[proxy], labGatewayImage(proxy))
	}
	return cmp.Or(r.d.GatewayImages[proxy], gatewayImages()[proxy])
}

// checkGateway returns a *LackingError if the nodes say which images they have, and the gateway's is none of them.
func (r *Run) checkGateway(nodes []corev1.Node) error {
	g := r.d.Scenario.Spec.Gateway
	if g == nil {
		return nil
	}
	for i := range nodes {
		list, told := nodes[i].Annotations[annotationImages]
		if told && !slices.Contains(strings.Split(list, ","), r.gatewayImage()) {
			return &LackingError{What: fmt.Sprintf("%s is not installed on this machine, or was not when the lab started (%s)", g.Proxy, howToInstall(g.Proxy))}
		}
	}
	return nil
}

func howToInstall(proxy string) string {
	if proxy == scenarios.ProxyCaddy {
		return `"make caddy" builds it`
	}
	return fmt.Sprintf("its Debian package is %s", map[string]string{scenarios.ProxyHAProxy: "haproxy", scenarios.ProxyNginx: "nginx-light"}[proxy])
}

// balances reports whether the gateway itself chooses among the pods.
func balances(g *scenarios.Gateway) bool { return g != nil && g.Upstream == scenarios.UpstreamPods }

// applyGatewayServices applies the Services that a gateway needs.
func (r *Run) applyGatewayServices(ctx context.Context) (err error) {
	g := r.d.Scenario.Spec.Gateway
	if g == nil {
		return nil
	}
	if r.gateway, err = r.applyService(ctx, gatewayServiceObject(r.d)); err != nil || !balances(g) {
		return err
	}
	_, err = r.applyService(ctx, upstreamServiceObject(r.d))
	return err
}

// gatewayServiceObject is the Service in front of the gateway.
func gatewayServiceObject(d Deployment) *corev1ac.ServiceApplyConfiguration {
	g := d.Scenario.Spec.Gateway
	spec := corev1ac.ServiceSpec().WithType(corev1.ServiceType(cmp.Or(g.Type, string(corev1.ServiceTypeClusterIP)))).
		WithSelector(map[string]string{labelRun: d.RunID, labelRole: roleGateway}).
		WithPorts(gatewayPort().onService(), gatewayCanary().onService())
	if g.ExternalTrafficPolicy != "" {
		spec.WithExternalTrafficPolicy(corev1.ServiceExternalTrafficPolicy(g.ExternalTrafficPolicy))
	}
	return corev1ac.Service(serviceGateway, namespaceOf(d.RunID)).WithLabels(runLabels(d.RunID)).WithSpec(spec)
}

// upstreamServiceObject has no address: its name stands for the echo pods.
func upstreamServiceObject(d Deployment) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().WithClusterIP(corev1.ClusterIPNone).WithSelector(serviceSelector(d.RunID)).WithPorts(httpPort().onService())
	return corev1ac.Service(serviceUpstream, namespaceOf(d.RunID)).WithLabels(runLabels(d.RunID)).WithSpec(spec)
}

// startGateway hands the gateway its configuration and starts its pods.
func (r *Run) startGateway(ctx context.Context) error {
	g := r.d.Scenario.Spec.Gateway
	if g == nil {
		return nil
	}
	file, content, err := r.proxyConfig()
	if err != nil {
		return fmt.Errorf("configuring the gateway: %w", err)
	}
	config := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: runMeta(r.d.RunID, gatewayConfig), Data: map[string]string{file: content},
	}
	if _, err := r.c.client.CoreV1().ConfigMaps(r.Namespace()).Create(ctx, config, createOptions()); err != nil {
		return step("config map "+gatewayConfig, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range r.layout.gateways {
		group.Go(func() error {
			_, err := r.c.client.CoreV1().Pods(r.Namespace()).Apply(ctx, gatewayPodObject(r.d, p, r.gatewayImage()), applyOptions())
			return step("gateway pod "+p.name, err)
		})
	}
	return group.Wait()
}

// gatewayCommand is how a proxy is started, by the name that PATH leads to in every image, and how it is told to end.
func gatewayCommand(proxy string) []string {
	switch proxy {
	case scenarios.ProxyHAProxy:
		return []string{"haproxy", "-db", "-f", gatewayConfigDir + "/haproxy.cfg"}
	case scenarios.ProxyNginx:
		return []string{"nginx", "-e", "stderr", "-c", gatewayConfigDir + "/nginx.conf", "-g", "daemon off;"}
	}
	return []string{"caddy", "run", "--adapter", "caddyfile", "--config", gatewayConfigDir + "/Caddyfile"}
}

// gatewayPodObject is one pod of the gateway: like an agent a bare pod on a node that is decided, so that where it stands is
// known before it runs.
func gatewayPodObject(d Deployment, p gatewayPod, image string) *corev1ac.PodApplyConfiguration {
	g := d.Scenario.Spec.Gateway
	c := podskewContainer(d, roleGateway).WithImage(image).WithCommand(gatewayCommand(g.Proxy)...).
		WithEnv(corev1ac.EnvVar().WithName("XDG_DATA_HOME").WithValue("/tmp"), corev1ac.EnvVar().WithName("XDG_CONFIG_HOME").WithValue("/tmp")).
		WithPorts(gatewayPort().onContainer(), gatewayCanary().onContainer()).
		WithReadinessProbe(probeEverySecond(gatewayProbe, int(gatewayPort().pod))).
		WithVolumeMounts(corev1ac.VolumeMount().WithName("config").WithMountPath(gatewayConfigDir).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("tmp").WithMountPath("/tmp"))
	if image != d.Image {
		c.WithImagePullPolicy(corev1.PullIfNotPresent)
	}
	if g.Proxy == scenarios.ProxyCaddy {
		// The official image's binary carries this capability, and without the right to it cannot be started at all.
		c.SecurityContext.Capabilities.WithAdd("NET_BIND_SERVICE")
	}
	spec := podskewPod(c).WithRestartPolicy(corev1.RestartPolicyAlways).WithTolerations(tolerations(d)...).
		WithTerminationGracePeriodSeconds(1).WithAffinity(onNode(p.node)).
		WithVolumes(
			corev1ac.Volume().WithName("config").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(gatewayConfig)),
			corev1ac.Volume().WithName("tmp").WithEmptyDir(corev1ac.EmptyDirVolumeSource()))
	if p.tolerate {
		spec.WithTolerations(anyNoSchedule())
	}
	return corev1ac.Pod(p.name, namespaceOf(d.RunID)).WithLabels(roleLabels(d.RunID, roleGateway)).WithSpec(spec)
}

// gatewayAddresses are what a client of the gateway dials: its Service's cluster IP, or from outside its node ports.
func (r *Run) gatewayAddresses(c scenarios.Client, p port) ([]record.Address, error) {
	if r.gateway == nil {
		return nil, errors.New("there is no gateway: target gateway needs spec.gateway")
	}
	if c.Vantage != scenarios.VantageExternal {
		return clusterIPAddress(r.gateway, p)
	}
	return r.nodePortAddresses(r.gateway, p, r.layout.gatewayNodes(r.gateway))
}

// throughGateway is the port of the gateway that leads to the canary or, where that has no address, to the echo pods.
func (r *Run) throughGateway() port {
	if r.canary.Spec.ClusterIP == corev1.ClusterIPNone {
		return gatewayPort()
	}
	return gatewayCanary()
}

// gatewayNodes are the nodes whose node ports lead to the gateway: those with a pod of it under externalTrafficPolicy Local.
func (l *layout) gatewayNodes(s *corev1.Service) []string {
	if s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return l.workers
	}
	var out []string
	for _, p := range l.gateways {
		out = append(out, p.node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gatewayFact is what facts say about the gateway; nil without one.
func (r *Run) gatewayFact() *record.Gateway {
	g := r.d.Scenario.Spec.Gateway
	if g == nil {
		return nil
	}
	out := &record.Gateway{
		Service: serviceGateway, Behind: r.d.firstService(), Proxy: g.Proxy, Image: r.gatewayImage(), Upstream: g.Upstream,
		KeepAlive: g.KeepAlive, SendProxyProtocol: g.SendProxyProtocol,
	}
	if balances(g) {
		out.Policy, out.Header = g.Policy, g.Header
	}
	return out
}

// gatewayNetworkPorts are the ports that the network policy admits for a gateway.
func gatewayNetworkPorts(d Deployment) []intstr.IntOrString {
	if d.Scenario.Spec.Gateway == nil {
		return nil
	}
	return []intstr.IntOrString{intstr.FromInt32(gatewayPort().pod), intstr.FromInt32(gatewayCanary().pod)}
}
