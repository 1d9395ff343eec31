package cluster

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// dnsUser is the user of the DNS server.
const dnsUser = "system:podskew-lab-dns"

// dnsName is the name of the cluster DNS Service in every Kubernetes cluster.
const dnsName = "kube-dns"

// created takes what a creation returns. An API server that has only begun to answer refuses some kinds for a moment,
// so creating is tried until it succeeds; an object that an earlier try has created is as good as a new one.
func created[T any](_ T, err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// createNodes creates the Node objects before the kubelets do. So pod CIDRs are what the routes say, and zones are
// there before the first pod is; the kubelet adopts the object it finds.
func (s *supervisor) createNodes(ctx context.Context) error {
	for _, n := range s.nodes {
		if err := created(s.client.CoreV1().Nodes().Create(ctx, nodeObject(n, s.config.Images), metav1.CreateOptions{})); err != nil {
			return fmt.Errorf("creating node %s: %w", n.Name, err)
		}
	}
	return nil
}

// imagesAnnotation lists on a node the images that its pods can have, separated by commas: the kubelet's own list, in
// the node's status, comes seconds later.
const imagesAnnotation = "podskew.dev/images"

func nodeObject(n Node, images []ImageFile) *corev1.Node {
	names := make([]string, 0, len(images))
	for _, image := range images {
		names = append(names, image.Name)
	}
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, Labels: map[string]string{corev1.LabelHostname: n.Name},
		Annotations: map[string]string{imagesAnnotation: strings.Join(names, ",")},
	}}
	if n.PodCIDR.IsValid() {
		object.Spec.PodCIDR = n.PodCIDR.String()
		object.Spec.PodCIDRs = []string{n.PodCIDR.String()}
	}
	if n.External {
		object.Labels[ExternalLabel] = "true"
		object.Spec.Taints = []corev1.Taint{{Key: ExternalLabel, Effect: corev1.TaintEffectNoSchedule}}
	}
	return object
}

// createDNSObjects creates the Service of the cluster DNS, its one endpoint, and the rights of the server. The server
// is a process of the control plane, so there are no pods to select.
func (s *supervisor) createDNSObjects(ctx context.Context) error {
	create := metav1.CreateOptions{}
	role, binding := dnsRole()
	if err := created(s.client.RbacV1().ClusterRoles().Create(ctx, role, create)); err != nil {
		return fmt.Errorf("creating the role of the cluster DNS: %w", err)
	}
	if err := created(s.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, create)); err != nil {
		return fmt.Errorf("binding the role of the cluster DNS: %w", err)
	}
	if err := s.createDNSService(ctx); err != nil {
		return fmt.Errorf("creating the Service of the cluster DNS: %w", err)
	}
	slices := s.client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem)
	if err := created(slices.Create(ctx, dnsEndpoint(), create)); err != nil {
		return fmt.Errorf("creating the endpoint of the cluster DNS: %w", err)
	}
	return nil
}

// createDNSService creates the Service unless an earlier try has. The API server takes the address before it looks whether the Service
// is there, so where a try went unanswered, the next one is told that the address is taken and not by what: either by the Service, or by
// nothing that exists, if the try ended between the two. Such an address is given back; the API server itself would take minutes.
func (s *supervisor) createDNSService(ctx context.Context) error {
	services := s.client.CoreV1().Services(metav1.NamespaceSystem)
	err := created(services.Create(ctx, dnsService(), metav1.CreateOptions{}))
	if !apierrors.IsInvalid(err) {
		return err
	}
	there, missing := services.Get(ctx, dnsName, metav1.GetOptions{})
	switch {
	case missing == nil && there.Spec.ClusterIP == dnsServiceIP:
		return nil
	case apierrors.IsNotFound(missing):
		if freed := s.client.NetworkingV1().IPAddresses().Delete(ctx, dnsServiceIP, metav1.DeleteOptions{}); freed != nil && !apierrors.IsNotFound(freed) {
			return fmt.Errorf("giving back its address: %w", freed)
		}
	}
	return err
}

func dnsRole() (*rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding) {
	meta := metav1.ObjectMeta{Name: dnsUser}
	read := []string{"get", "list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services", "namespaces", "pods"}, Verbs: read},
		{APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: read},
	}}
	return role, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: dnsUser}},
	}
}

// dnsPort is one of the two ports of the cluster DNS.
type dnsPort struct {
	name     string
	protocol corev1.Protocol
}

func dnsPorts() []dnsPort {
	return []dnsPort{{"dns", corev1.ProtocolUDP}, {"dns-tcp", corev1.ProtocolTCP}}
}

func dnsService() *corev1.Service {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: dnsName, Labels: map[string]string{
			"k8s-app": dnsName, "kubernetes.io/name": "podskew-lab-dns",
		}},
		Spec: corev1.ServiceSpec{ClusterIP: dnsServiceIP},
	}
	for _, p := range dnsPorts() {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{
			Name: p.name, Protocol: p.protocol, Port: 53, TargetPort: intstr.FromInt32(53),
		})
	}
	return service
}

func dnsEndpoint() *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: dnsName, Labels: map[string]string{
			discoveryv1.LabelServiceName: dnsName, discoveryv1.LabelManagedBy: "podskew-lab",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{controlPlaneIP}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		}},
	}
	for _, p := range dnsPorts() {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
			Name: new(p.name), Protocol: new(p.protocol), Port: new(int32(53)),
		})
	}
	return slice
}
