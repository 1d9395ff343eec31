package cluster

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// policyObject admits traffic to the ports that echo pods and agents serve on and to no other. Where it comes from
// is left open: which address a client or the API server's proxy shows is what a run is there to find out. What agents
// send is not limited here: a policy acts behind the Service's translation, where it would have to list echo pods that
// are not there yet, and plugins differ on node ports. The list of targets in each agent limits it (see secretObject).
// Policies do not hold for pods on the nodes' network.
func policyObject(d Deployment) *networkingv1.NetworkPolicy {
	var ports []networkingv1.NetworkPolicyPort
	for _, p := range echoPorts() {
		ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: new(p.transport), Port: new(intstr.FromInt32(p.pod))})
	}
	for _, p := range slices.Concat(gatewayNetworkPorts(d), inEchoNetworkPorts(d)) {
		ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(p)})
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: runMeta(d.RunID, policyName),
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: ports}},
		},
	}
}
