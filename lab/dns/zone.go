package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

const (
	// ttl is how long answers, also negative ones, may be kept, in seconds: the default of CoreDNS's kubernetes plugin.
	ttl = 5
	// schemaVersion is the version of the Kubernetes DNS specification that the zone follows.
	schemaVersion = "1.1.0"
)

// zone knows the cluster domain's records. Names given to it are lower-case and fully qualified.
type zone struct {
	domain  string // fully qualified
	names   *catalog
	servers []netip.Addr // where this server is reached: the addresses of ns.dns.<domain>
}

// outcome is what a zone knows of one name and type. Records without an owner belong to the name that was asked for.
type outcome struct {
	exists  bool     // false: NXDOMAIN
	answer  []dns.RR // empty although the name exists: no data of this type
	extra   []dns.RR
	aliasTo string // fully qualified target if the answer is a CNAME that wants following; else ""
}

// contains reports whether name is the zone's domain or below it.
func (z *zone) contains(name string) bool {
	return dns.IsSubDomain(z.domain, name)
}

// leftOver reports whether name, outside the domain, is what a search list leaves of a cluster name: resolvers that have
// tried "web" or "web.shop" in every domain of the list ask for it as it stands. The root servers would deny such
// names; to refuse them would make some resolvers (musl) wait for a timeout instead of saying "no such host".
func (z *zone) leftOver(name string) bool {
	labels := dns.SplitDomainName(name)
	if len(labels) < 2 {
		return true
	}
	last := labels[len(labels)-1]
	return last == "svc" || slices.Contains(dns.SplitDomainName(z.domain), last) || z.names.hasNamespace(last)
}

// lookup answers for a name that the zone contains.
func (z *zone) lookup(name string, qtype uint16) outcome {
	relative := strings.TrimSuffix(strings.TrimSuffix(name, z.domain), ".")
	if relative == "" {
		return z.apex(qtype)
	}
	labels := dns.SplitDomainName(relative)
	switch {
	case relative == "dns-version":
		return only(qtype, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{schemaVersion}})
	case relative == "dns":
		return outcome{exists: true}
	case relative == "ns.dns":
		return only(qtype, addressRecords("", z.servers)...)
	case labels[len(labels)-1] == "svc":
		return z.below(labels[:len(labels)-1], qtype)
	}
	return outcome{}
}

// apex answers for the domain itself.
func (z *zone) apex(qtype uint16) outcome {
	return only(qtype, z.soa(z.domain), &dns.NS{Hdr: header(dns.TypeNS), Ns: "ns.dns." + z.domain})
}

// below answers for names under svc.<domain>: labels are what precedes that.
func (z *zone) below(labels []string, qtype uint16) outcome {
	switch len(labels) {
	case 0:
		return outcome{exists: true}
	case 1:
		return outcome{exists: z.names.hasNamespace(labels[0])}
	}
	namespace, service := labels[len(labels)-1], labels[len(labels)-2]
	svc := z.names.service(namespace, service)
	if svc == nil {
		return outcome{}
	}
	rest := labels[:len(labels)-2]
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return externalName(svc, rest)
	}
	switch {
	case len(rest) == 0:
		return z.serviceName(svc, qtype)
	case len(rest) == 1 && strings.HasPrefix(rest[0], "_"):
		ports := z.matchingPorts(svc, "", rest[0][1:])
		return outcome{exists: len(ports) > 0}
	case len(rest) == 1:
		return z.endpointName(svc, rest[0], qtype)
	case len(rest) == 2 && strings.HasPrefix(rest[0], "_") && strings.HasPrefix(rest[1], "_"):
		return z.portName(svc, rest[0][1:], rest[1][1:], qtype)
	}
	return outcome{}
}

// externalName answers with the alias that svc is. Nothing exists below it.
func externalName(svc *corev1.Service, rest []string) outcome {
	target := dns.CanonicalName(svc.Spec.ExternalName)
	if _, ok := dns.IsDomainName(target); !ok || target == "." || len(rest) > 0 {
		return outcome{}
	}
	return outcome{exists: true, answer: []dns.RR{&dns.CNAME{Hdr: header(dns.TypeCNAME), Target: target}}, aliasTo: target}
}

// serviceName answers for a Service's own name. A headless Service is the addresses of its endpoints; without any, the
// name does not exist (as CoreDNS has it).
func (z *zone) serviceName(svc *corev1.Service, qtype uint16) outcome {
	if virtual := clusterIPs(svc); len(virtual) > 0 {
		if qtype == dns.TypeSRV {
			return z.serviceSRV(svc, servicePorts(svc))
		}
		return only(qtype, addressRecords("", virtual)...)
	}
	found := z.names.endpoints(svc)
	if len(found) == 0 {
		return outcome{}
	}
	if qtype == dns.TypeSRV {
		return z.endpointSRV(svc, found, func(servicePort) bool { return true })
	}
	return only(qtype, addressRecords("", addresses(found))...)
}

// endpointName answers for a pod's hostname, or an address with dashes, under its Service.
func (z *zone) endpointName(svc *corev1.Service, host string, qtype uint16) outcome {
	found := z.names.endpoints(svc)
	found = slices.DeleteFunc(found, func(e endpoint) bool { return e.host != host })
	if len(found) == 0 {
		return outcome{}
	}
	if qtype == dns.TypeSRV {
		return z.endpointSRV(svc, found, func(servicePort) bool { return true })
	}
	return only(qtype, addressRecords("", addresses(found))...)
}

// portName answers for _port._protocol under a Service: the name of SRV records.
func (z *zone) portName(svc *corev1.Service, name, protocol string, qtype uint16) outcome {
	ports := z.matchingPorts(svc, name, protocol)
	if name == "" || len(ports) == 0 {
		return outcome{}
	}
	switch {
	case qtype != dns.TypeSRV:
		return outcome{exists: true}
	case len(clusterIPs(svc)) > 0:
		return z.serviceSRV(svc, ports)
	}
	return z.endpointSRV(svc, z.names.endpoints(svc), func(p servicePort) bool { return p.name == name && p.protocol == protocol })
}

// matchingPorts returns the ports of svc, or of its endpoints if it is headless, with that protocol and name; an empty
// name matches all.
func (z *zone) matchingPorts(svc *corev1.Service, name, protocol string) []servicePort {
	ports := servicePorts(svc)
	if len(clusterIPs(svc)) == 0 {
		ports = nil
		for _, e := range z.names.endpoints(svc) {
			ports = append(ports, e.ports...)
		}
	}
	return slices.DeleteFunc(ports, func(p servicePort) bool {
		return p.protocol != protocol || name != "" && p.name != name
	})
}

// serviceSRV points to the Service's own name, once per port.
func (z *zone) serviceSRV(svc *corev1.Service, ports []servicePort) outcome {
	target := z.serviceFQDN(svc)
	out := outcome{exists: true, extra: addressRecords(target, clusterIPs(svc))}
	for _, p := range ports {
		out.answer = append(out.answer, srv(target, p.number, len(ports)))
	}
	return out
}

// endpointSRV points to the names of the endpoints, once per wanted port of each.
func (z *zone) endpointSRV(svc *corev1.Service, found []endpoint, wanted func(servicePort) bool) outcome {
	out := outcome{exists: true}
	parent := z.serviceFQDN(svc)
	var records []*dns.SRV
	for _, e := range found {
		target := e.host + "." + parent
		before := len(records)
		for _, p := range e.ports {
			if wanted(p) {
				records = append(records, srv(target, p.number, 1))
			}
		}
		if len(records) > before {
			out.extra = append(out.extra, addressRecords(target, []netip.Addr{e.address})...)
		}
	}
	for _, r := range records {
		r.Weight = srvWeight(len(records))
		out.answer = append(out.answer, r)
	}
	return out
}

// serviceFQDN returns the fully qualified name of svc.
func (z *zone) serviceFQDN(svc *corev1.Service) string {
	return svc.Name + "." + svc.Namespace + ".svc." + z.domain
}

// reverse answers for the name of an address under in-addr.arpa or ip6.arpa.
func (z *zone) reverse(name string, qtype uint16) outcome {
	address, ok := parseReverse(name)
	if !ok {
		return outcome{}
	}
	var records []dns.RR
	for _, relative := range z.names.namesOf(address) {
		records = append(records, &dns.PTR{Hdr: header(dns.TypePTR), Ptr: relative + "." + z.domain})
	}
	if len(records) == 0 {
		return outcome{}
	}
	return only(qtype, records...)
}

// soa is the start of authority of the domain, or of another apex that this server answers for. The serial is fixed:
// there are no secondaries to notice a change.
func (z *zone) soa(apex string) *dns.SOA {
	h := header(dns.TypeSOA)
	h.Name = apex
	return &dns.SOA{
		Hdr: h, Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}
