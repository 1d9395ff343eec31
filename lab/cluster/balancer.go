package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// balanceAgain is the pause after a watch that ended: they all do after some minutes.
const balanceAgain = 200 * time.Millisecond

// balance gives Services of type LoadBalancer an address until ctx ends, as a cloud's controller does. The external
// node has a way to these addresses by the workers that want the traffic (see checkHealth), and the kube-proxies there do
// the rest.
func (s *supervisor) balance(ctx context.Context) {
	for ctx.Err() == nil {
		if err := balanceOnce(ctx, s.client, s.balancers); err != nil && ctx.Err() == nil {
			s.log.Warn("giving load balancers addresses", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(balanceAgain):
		}
	}
}

// balanceOnce serves all Services that are there, and those that come until the watch ends.
func balanceOnce(ctx context.Context, client kubernetes.Interface, served *balancers) error {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing Services: %w", err)
	}
	given := map[netip.Addr]string{}
	for i := range list.Items {
		note(given, &list.Items[i])
	}
	served.only(list.Items)
	for i := range list.Items {
		if err := give(ctx, client, given, &list.Items[i]); err != nil {
			return err
		}
	}
	w, err := client.CoreV1().Services(metav1.NamespaceAll).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return fmt.Errorf("watching Services: %w", err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		service, ok := e.Object.(*corev1.Service)
		if !ok {
			return nil // such as "too old"
		}
		if e.Type == watch.Deleted {
			forget(given, service)
			served.forget(service)
			continue
		}
		note(given, service)
		served.see(service)
		if err := give(ctx, client, given, service); err != nil {
			return err
		}
	}
	return nil
}

func forget(given map[netip.Addr]string, service *corev1.Service) {
	maps.DeleteFunc(given, func(_ netip.Addr, owner string) bool { return owner == service.Namespace+"/"+service.Name })
}

// note keeps the books of who has which address: a Service that ends, or no longer asks for one, has none.
func note(given map[netip.Addr]string, service *corev1.Service) {
	forget(given, service)
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil {
		return
	}
	for _, i := range service.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(i.IP); err == nil {
			given[ip] = service.Namespace + "/" + service.Name
		}
	}
}

// give writes a free address into the status of a Service that asks for one and has none.
func give(ctx context.Context, client kubernetes.Interface, given map[netip.Addr]string, service *corev1.Service) error {
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil || len(service.Status.LoadBalancer.Ingress) > 0 {
		return nil
	}
	ip, err := freeBalancer(given)
	if err != nil {
		return err
	}
	service = service.DeepCopy()
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip.String(), IPMode: new(corev1.LoadBalancerIPModeVIP)}}
	_, err = client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return nil // gone, or changed: then the watch says so
	case err != nil:
		return fmt.Errorf("giving Service %s/%s the address %s: %w", service.Namespace, service.Name, ip, err)
	}
	note(given, service)
	return nil
}

// freeBalancer is the first address that nobody has.
func freeBalancer(given map[netip.Addr]string) (netip.Addr, error) {
	all := netip.MustParsePrefix(balancersCIDR)
	for ip := all.Addr().Next(); all.Contains(ip.Next()); ip = ip.Next() {
		if _, taken := given[ip]; !taken {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("every address for load balancers is taken")
}
