package cluster

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestNodes(t *testing.T) {
	var got []string
	for _, n := range Nodes(4) {
		got = append(got, fmt.Sprintf("%s %s %s zone=%s external=%t", n.Name, n.Address, n.PodCIDR, n.Zone, n.External))
	}
	want := []string{
		"worker 10.77.0.11 10.78.1.0/24 zone=a external=false",
		"worker2 10.77.0.12 10.78.2.0/24 zone=b external=false",
		"worker3 10.77.0.13 10.78.3.0/24 zone=c external=false",
		"worker4 10.77.0.14 10.78.4.0/24 zone=a external=false",
		"external 10.77.0.200 invalid Prefix zone= external=true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNodesHaveAddressesOfTheirOwn(t *testing.T) {
	seen := map[string]string{controlPlaneIP: "the control plane"}
	for _, n := range Nodes(MaxWorkers) {
		for _, address := range []string{n.Address.String(), n.PodCIDR.String()} {
			if other, taken := seen[address]; taken && n.PodCIDR.IsValid() {
				t.Errorf("%s and %s both have %s", n.Name, other, address)
			}
			seen[address] = n.Name
		}
	}
}

func TestRoutes(t *testing.T) {
	nodes := Nodes(2)
	tests := []struct {
		name string
		got  any
		want string
	}{
		{"the control plane reaches all pods", podRoutes(nodes, ""), "[{10.78.1.0/24 10.77.0.11 []} {10.78.2.0/24 10.77.0.12 []}]"},
		{"a worker reaches the others' pods and everything else", nodeRoutes(nodes, nodes[0]), "[{10.78.2.0/24 10.77.0.12 []} {0.0.0.0/0 10.77.0.1 []}]"},
		{"the external node reaches load balancers by every worker", nodeRoutes(nodes, nodes[2]), "[{10.80.0.0/24 10.77.0.11 [10.77.0.12]}]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(tt.got); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMasquerade(t *testing.T) {
	n := Nodes(1)[0]
	nft := masquerade(n, NFTables)
	if nft.Args[0] != "nft" || !strings.Contains(nft.Stdin, `ip saddr 10.78.1.0/24 ip daddr != 10.78.0.0/16 oifname "eth0" masquerade`) {
		t.Errorf("nftables: %v\n%s", nft.Args, nft.Stdin)
	}
	ipt := strings.Join(masquerade(n, IPTables).Args, " ")
	if !strings.Contains(ipt, "-s 10.78.1.0/24 ! -d 10.78.0.0/16 -o eth0") || !strings.HasSuffix(ipt, "-j MASQUERADE") {
		t.Errorf("iptables: %s", ipt)
	}
}

func TestProcessNames(t *testing.T) {
	nodes := Nodes(1)
	if got := fmt.Sprint(processNames(nodes[0]), processNames(nodes[1])); got != "[kubelet kube-proxy] [kubelet]" {
		t.Errorf("worker and external: %s", got)
	}
}

func TestNodeObject(t *testing.T) {
	nodes := Nodes(1)
	worker, external := nodeObject(nodes[0], nil), nodeObject(nodes[1], nil)
	wantLabels := map[string]string{"kubernetes.io/hostname": "worker"} // the zone comes later: see tellZones
	if diff := cmp.Diff(wantLabels, worker.Labels); diff != "" {
		t.Errorf("the worker's labels (-want +got):\n%s", diff)
	}
	if fmt.Sprint(worker.Spec.PodCIDRs) != "[10.78.1.0/24]" || len(worker.Spec.Taints) != 0 {
		t.Errorf("the worker: %+v", worker.Spec)
	}
	want := []corev1.Taint{{Key: "podskew.dev/external", Effect: corev1.TaintEffectNoSchedule}}
	if diff := cmp.Diff(want, external.Spec.Taints); diff != "" || external.Labels["podskew.dev/external"] != "true" ||
		external.Spec.PodCIDR != "" {
		t.Errorf("the external node: %+v %+v", external.Labels, external.Spec)
	}
}

func TestProxyConfig(t *testing.T) {
	config := proxyConfig(Nodes(2)[1], IPTables)
	for _, want := range []string{
		"\nmode: iptables\n", "\nhostnameOverride: worker2\n", "\nmetricsBindAddress: 0.0.0.0:10249\n",
		"\nhealthzBindAddress: 0.0.0.0:10256\n", "maxPerCore: 0",
	} {
		if !strings.Contains(config, want) {
			t.Errorf("no %q in\n%s", want, config)
		}
	}
}

func TestDNSObjects(t *testing.T) {
	service, slice := dnsService(), dnsEndpoint()
	if service.Spec.ClusterIP != dnsServiceIP || len(service.Spec.Selector) != 0 {
		t.Errorf("service: %+v", service.Spec)
	}
	if len(service.Spec.Ports) != 2 || len(slice.Ports) != 2 {
		t.Fatalf("%d and %d ports", len(service.Spec.Ports), len(slice.Ports))
	}
	for i, p := range service.Spec.Ports {
		if p.Name != *slice.Ports[i].Name || p.Protocol != *slice.Ports[i].Protocol {
			t.Errorf("port %d: %+v and %+v do not belong together", i, p, slice.Ports[i])
		}
	}
}
