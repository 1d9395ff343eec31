package dns

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
)

// newHandler returns a handler over the test objects, without a network.
func newHandler(tb testing.TB) *handler {
	tb.Helper()
	c := &catalog{
		services: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc, byAddress: serviceAddresses}),
		slices:   cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{byAddress: sliceAddresses, byService: sliceService}),
	}
	for _, obj := range append(objects(), many(300)...) {
		indexer := c.slices
		if accessor, err := meta.Accessor(obj); err == nil && accessor.GetLabels() == nil {
			indexer = c.services
		}
		if err := indexer.Add(obj); err != nil {
			tb.Fatal(err)
		}
	}
	return &handler{
		zone:   &zone{domain: "cluster.local.", names: c, servers: []netip.Addr{netip.MustParseAddr("10.77.0.1")}},
		random: rand.New(rand.NewPCG(1, 1)),
		logger: slog.New(slog.DiscardHandler),
	}
}

// FuzzPacket feeds raw packets through unpacking and the handler. Whatever comes in, the answer is one that can be sent:
// it packs, fits, and belongs to the question.
func FuzzPacket(f *testing.F) {
	for _, name := range []string{
		"web.shop.svc.cluster.local.", "_sql._tcp.db.shop.svc.cluster.local.", "many.shop.svc.cluster.local.",
		"20.0.79.10.in-addr.arpa.", "egg.shop.svc.cluster.local.", "cluster.local.", ".", "nope.", `a\.b.svc.cluster.local.`,
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			m := new(dns.Msg).SetQuestion(name, qtype)
			m.SetEdns0(uint16(len(name)*100), true)
			packed, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packed, qtype%2 == 0)
		}
	}
	h := newHandler(f)
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		request := new(dns.Msg)
		if request.Unpack(packet) != nil {
			return
		}
		network, limit := "udp", maxUDP
		if tcp {
			network, limit = "tcp", dns.MaxMsgSize
		}
		reply := h.reply(t.Context(), request, network)
		packed, err := reply.Pack()
		if err != nil {
			t.Fatalf("the answer does not pack: %v\n%v", err, reply)
		}
		if len(packed) > limit {
			t.Errorf("%d bytes over %s, want at most %d", len(packed), network, limit)
		}
		back := new(dns.Msg)
		if err := back.Unpack(packed); err != nil {
			t.Fatalf("the answer does not unpack: %v", err)
		}
		if back.Id != request.Id || !back.Response || len(back.Question) > 0 && back.Question[0] != request.Question[0] {
			t.Errorf("the answer %v does not belong to %v", back.MsgHdr, request.MsgHdr)
		}
	})
}

// FuzzReverse holds parseReverse against the library's own way there.
func FuzzReverse(f *testing.F) {
	for _, name := range []string{"20.0.79.10.in-addr.arpa.", "1.2.3.in-addr.arpa.", "256.1.1.1.in-addr.arpa.", "01.1.1.1.in-addr.arpa.", "ip6.arpa."} {
		f.Add(name)
	}
	long, err := dns.ReverseAddr("fd00::21")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, name string) {
		addr, ok := parseReverse(name)
		if !ok {
			return
		}
		if addr.Is4() && len(name) > len("255.255.255.255.in-addr.arpa.") {
			return // an IPv4 address inside an IPv6 one has two names
		}
		back, err := dns.ReverseAddr(addr.String())
		if err != nil || back != dns.CanonicalName(name) {
			t.Errorf("%q is %v, whose name is %q (%v)", name, addr, back, err)
		}
	})
}
