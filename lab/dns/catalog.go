package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Names of the indexes that the catalog looks things up by.
const (
	byAddress = "address" // canonical IP address
	byService = "service" // namespace/name of the Service that an EndpointSlice belongs to
)

// catalog is what the cluster currently contains, as far as names depend on it.
type catalog struct {
	services, slices cache.Indexer
	synced           []cache.InformerSynced
}

// endpoint is one address behind a Service, with the name it has below the Service's.
type endpoint struct {
	address netip.Addr
	host    string
	ports   []servicePort
}

// servicePort is one port of a Service or an endpoint.
type servicePort struct {
	name, protocol string // protocol in lower case
	number         uint16
}

// watch starts to follow Services and EndpointSlices until ctx ends; stop waits for the end of what it started.
func watch(ctx context.Context, client kubernetes.Interface) (c *catalog, stop func(), err error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields))
	services := factory.Core().V1().Services().Informer()
	endpointSlices := factory.Discovery().V1().EndpointSlices().Informer()
	if err := services.AddIndexers(cache.Indexers{byAddress: serviceAddresses}); err != nil {
		return nil, nil, fmt.Errorf("indexing Services: %w", err)
	}
	if err := endpointSlices.AddIndexers(cache.Indexers{byAddress: sliceAddresses, byService: sliceService}); err != nil {
		return nil, nil, fmt.Errorf("indexing EndpointSlices: %w", err)
	}
	factory.StartWithContext(ctx)
	return &catalog{
		services: services.GetIndexer(),
		slices:   endpointSlices.GetIndexer(),
		synced:   []cache.InformerSynced{services.HasSynced, endpointSlices.HasSynced},
	}, factory.Shutdown, nil
}

// waitForSync reports whether everything was listed once before ctx ended.
func (c *catalog) waitForSync(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), c.synced...)
}

// service returns the Service of that name, or nil.
func (c *catalog) service(namespace, name string) *corev1.Service {
	obj, found, err := c.services.GetByKey(namespace + "/" + name)
	if err != nil || !found {
		return nil
	}
	svc, _ := obj.(*corev1.Service)
	return svc
}

// hasNamespace reports whether any Service lives in the namespace.
func (c *catalog) hasNamespace(namespace string) bool {
	keys, err := c.services.IndexKeys(cache.NamespaceIndex, namespace)
	return err == nil && len(keys) > 0
}

// endpoints returns the ready endpoints of svc (all of them if it publishes those not ready), sorted by address and
// without duplicates: an endpoint may sit in two slices while the controller moves it.
func (c *catalog) endpoints(svc *corev1.Service) []endpoint {
	objs, err := c.slices.ByIndex(byService, svc.Namespace+"/"+svc.Name)
	if err != nil {
		return nil
	}
	var found []endpoint
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			found = append(found, sliceEndpoints(slice, svc.Spec.PublishNotReadyAddresses)...)
		}
	}
	slices.SortStableFunc(found, func(a, b endpoint) int { return a.address.Compare(b.address) })
	return slices.CompactFunc(found, func(a, b endpoint) bool { return a.address == b.address && a.host == b.host })
}

// namesOf returns the names, relative to the cluster domain, that an address goes by: that of the Service with this
// cluster IP, or else those of the ready endpoints with this address. They are sorted.
func (c *catalog) namesOf(address netip.Addr) []string {
	if objs, err := c.services.ByIndex(byAddress, address.String()); err == nil && len(objs) > 0 {
		if svc, ok := objs[0].(*corev1.Service); ok {
			return []string{strings.Join([]string{svc.Name, svc.Namespace, "svc"}, ".")}
		}
	}
	objs, err := c.slices.ByIndex(byAddress, address.String())
	if err != nil {
		return nil
	}
	var names []string
	for _, obj := range objs {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		svc := c.service(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])
		if svc == nil {
			continue
		}
		for _, e := range sliceEndpoints(slice, svc.Spec.PublishNotReadyAddresses) {
			if e.address == address {
				names = append(names, strings.Join([]string{e.host, svc.Name, svc.Namespace, "svc"}, "."))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// clusterIPs returns the virtual addresses of svc; none if it is headless or an external name.
func clusterIPs(svc *corev1.Service) []netip.Addr {
	texts := svc.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{svc.Spec.ClusterIP}
	}
	var addrs []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// servicePorts returns the ports of svc.
func servicePorts(svc *corev1.Service) []servicePort {
	ports := make([]servicePort, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		ports = append(ports, servicePort{name: p.Name, protocol: protocolName(&p.Protocol), number: uint16(p.Port)})
	}
	return ports
}

// sliceEndpoints returns the endpoints of one slice. An endpoint counts as ready unless it says otherwise.
func sliceEndpoints(slice *discoveryv1.EndpointSlice, unready bool) []endpoint {
	var ports []servicePort
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		port := servicePort{protocol: protocolName(p.Protocol), number: uint16(*p.Port)}
		if p.Name != nil {
			port.name = *p.Name
		}
		ports = append(ports, port)
	}
	var found []endpoint
	for _, e := range slice.Endpoints {
		if !unready && e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			found = append(found, endpoint{address: addr.Unmap(), host: hostLabel(e.Hostname, addr.Unmap()), ports: ports})
		}
	}
	return found
}

// hostLabel returns the label of an endpoint: its pod's hostname, or its address with dashes.
func hostLabel(hostname *string, address netip.Addr) string {
	if hostname != nil && *hostname != "" {
		return strings.ToLower(*hostname)
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(address.String())
}

// protocolName returns the protocol as it is spelt in DNS; none means TCP.
func protocolName(p *corev1.Protocol) string {
	if p == nil || *p == "" {
		return "tcp"
	}
	return strings.ToLower(string(*p))
}

// serviceAddresses indexes Services by cluster IP.
func serviceAddresses(obj any) ([]string, error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return nil, nil
	}
	var keys []string
	for _, addr := range clusterIPs(svc) {
		keys = append(keys, addr.String())
	}
	return keys, nil
}

// sliceAddresses indexes EndpointSlices by the addresses in them.
func sliceAddresses(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	var keys []string
	for _, e := range sliceEndpoints(slice, true) {
		keys = append(keys, e.address.String())
	}
	return keys, nil
}

// sliceService indexes EndpointSlices by the Service they belong to.
func sliceService(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, nil
	}
	return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
}

// withoutManagedFields drops what takes the most memory and matters to nobody here.
func withoutManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}
