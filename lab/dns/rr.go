package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// header is the header of a record of the name asked for; the handler puts that name in, spelt as in the question.
func header(rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// only is the outcome for a name that has these records: the ones of the type asked for.
func only(qtype uint16, records ...dns.RR) outcome {
	return outcome{exists: true, answer: slices.DeleteFunc(records, func(rr dns.RR) bool { return rr.Header().Rrtype != qtype })}
}

// addressRecords returns the A and AAAA records of owner.
func addressRecords(owner string, addrs []netip.Addr) []dns.RR {
	records := make([]dns.RR, 0, len(addrs))
	for _, addr := range addrs {
		if addr.Is4() {
			h := header(dns.TypeA)
			h.Name = owner
			records = append(records, &dns.A{Hdr: h, A: addr.AsSlice()})
			continue
		}
		h := header(dns.TypeAAAA)
		h.Name = owner
		records = append(records, &dns.AAAA{Hdr: h, AAAA: addr.AsSlice()})
	}
	return records
}

// addresses returns the distinct addresses of endpoints that are sorted by address.
func addresses(endpoints []endpoint) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(endpoints))
	for _, e := range endpoints {
		addrs = append(addrs, e.address)
	}
	return slices.Compact(addrs)
}

// srv returns a service record that is one of n with equal weights.
func srv(target string, port uint16, n int) *dns.SRV {
	return &dns.SRV{Hdr: header(dns.TypeSRV), Weight: srvWeight(n), Port: port, Target: target}
}

// srvWeight shares a weight of 100 between n records, as CoreDNS does. Zero would mean "hardly ever", hence at least 1.
func srvWeight(n int) uint16 {
	return uint16(max(1, 100/max(1, n)))
}

// parseReverse returns the address that a name under in-addr.arpa or ip6.arpa stands for. Names of networks (fewer
// labels) stand for none.
func parseReverse(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(labels, ".")
		slices.Reverse(parts)
		addr, err := netip.ParseAddr(strings.Join(parts, "."))
		return addr, err == nil && addr.Is4() && len(parts) == 4
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(labels, ".")
	if len(parts) != 32 {
		return netip.Addr{}, false
	}
	var raw [16]byte
	for i, part := range parts {
		nibble, err := strconv.ParseUint(part, 16, 4)
		if err != nil || len(part) != 1 {
			return netip.Addr{}, false
		}
		// The least significant nibble comes first.
		at := 31 - i
		raw[at/2] |= byte(nibble) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(raw).Unmap(), true
}
