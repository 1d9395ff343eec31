package cluster

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func balanced(name string, t corev1.ServiceType, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.ServiceSpec{Type: t}}
	for _, ip := range ips {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	return s
}

func TestLoadBalancersGetAddressesOfTheirOwn(t *testing.T) {
	client := fake.NewClientset(balanced("first", corev1.ServiceTypeLoadBalancer, "10.80.0.1"), balanced("second", corev1.ServiceTypeLoadBalancer),
		balanced("node", corev1.ServiceTypeNodePort))
	changes := watch.NewFake()
	client.PrependWatchReactor("services", k8stesting.DefaultWatchReactor(changes, nil))
	ended := make(chan error, 1)
	go func() { ended <- balanceOnce(t.Context(), client, newBalancers()) }()

	third := balanced("third", corev1.ServiceTypeLoadBalancer)
	if _, err := client.CoreV1().Services("default").Create(t.Context(), third, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changes.Add(third)
	changes.Stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	list, err := client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list.Items {
		for _, i := range s.Status.LoadBalancer.Ingress {
			got = append(got, s.Name+" "+i.IP)
		}
	}
	slices.Sort(got)
	if want := []string{"first 10.80.0.1", "second 10.80.0.2", "third 10.80.0.3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAnAddressComesBackWhenItsServiceEndsOrWantsNone(t *testing.T) {
	ended := balanced("a", corev1.ServiceTypeLoadBalancer, "10.80.0.1")
	ended.DeletionTimestamp = new(metav1.Now())
	for name, last := range map[string]*corev1.Service{"that ends": ended, "that wants none": balanced("a", corev1.ServiceTypeClusterIP)} {
		given := map[netip.Addr]string{}
		note(given, balanced("a", corev1.ServiceTypeLoadBalancer, "10.80.0.1"))
		if ip, err := freeBalancer(given); err != nil || ip.String() != "10.80.0.2" {
			t.Errorf("while it has one: %v, %v", ip, err)
		}
		note(given, last)
		if ip, err := freeBalancer(given); err != nil || ip.String() != "10.80.0.1" {
			t.Errorf("after a Service %s: %v, %v", name, ip, err)
		}
	}
}

func TestThereIsAnEndToTheAddresses(t *testing.T) {
	given := map[netip.Addr]string{}
	for {
		ip, err := freeBalancer(given)
		if err != nil {
			break
		}
		if given[ip] != "" || !netip.MustParsePrefix(balancersCIDR).Contains(ip) {
			t.Fatalf("%v is given twice, or is none of ours", ip)
		}
		given[ip] = "x"
	}
	if len(given) != 254 {
		t.Errorf("%d addresses", len(given))
	}
}
