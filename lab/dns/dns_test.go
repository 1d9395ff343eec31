package dns

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// objects is a small shop: a Service with a cluster IP, a headless one with three pods (one of them not ready, one with a
// hostname), one that publishes pods that are not ready, and aliases.
func objects() []runtime.Object {
	web := service("shop", "web", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "10.79.0.20", []string{"10.79.0.20"}
		s.Ports = []corev1.ServicePort{
			{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", Port: 9090, Protocol: corev1.ProtocolTCP},
		}
	})
	db := service("shop", "db", headless)
	starting := service("shop", "starting", func(s *corev1.ServiceSpec) { headless(s); s.PublishNotReadyAddresses = true })
	alias := func(name, target string) *corev1.Service {
		return service("shop", name, func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName = corev1.ServiceTypeExternalName, target
		})
	}
	dual := service("shop", "dual", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "10.79.0.21", []string{"10.79.0.21", "fd00::21"}
	})
	return []runtime.Object{
		web, db, starting, dual, service("shop", "empty", headless),
		alias("api", "web.shop.svc.cluster.local"), alias("away", "example.com"),
		alias("chicken", "egg.shop.svc.cluster.local"), alias("egg", "chicken.shop.svc.cluster.local"),
		endpointSlice("db-1", "db",
			discoveryv1.Endpoint{Addresses: []string{"10.78.1.2"}, Hostname: new("db-0")},
			discoveryv1.Endpoint{Addresses: []string{"10.78.2.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
			discoveryv1.Endpoint{Addresses: []string{"10.78.3.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		),
		// The controller may list an endpoint twice while it rearranges slices.
		endpointSlice("db-2", "db", discoveryv1.Endpoint{Addresses: []string{"10.78.2.2"}}),
		endpointSlice("starting-1", "starting",
			discoveryv1.Endpoint{Addresses: []string{"10.78.1.9"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}}),
		endpointSlice("web-1", "web", discoveryv1.Endpoint{Addresses: []string{"10.78.1.3"}}),
	}
}

func headless(s *corev1.ServiceSpec) {
	s.ClusterIP, s.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	s.Ports = []corev1.ServicePort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP}}
}

func service(namespace, name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	change(&s.Spec)
	return s
}

func endpointSlice(name, svc string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: svc},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   endpoints,
		Ports:       []discoveryv1.EndpointPort{{Name: new("sql"), Port: new(int32(5432)), Protocol: new(corev1.ProtocolTCP)}},
	}
}

// start runs a server over the given objects and returns its address and client.
func start(t *testing.T, o Options, objs ...runtime.Object) (string, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objs...)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan net.Addr, 1), make(chan error, 1)
	o.Listen = []string{"127.0.0.1:0"}
	go func() { ended <- run(ctx, o, client, func(addrs []net.Addr) { ready <- addrs[0] }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run ended with %v, want nil", err)
		}
	})
	select {
	case addr := <-ready:
		return addr.String(), client
	case err := <-ended:
		ended <- nil
		t.Fatalf("run ended early: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no server after 30 s")
	}
	return "", nil
}

// ask sends one question over network and returns the whole answer.
func ask(t *testing.T, server, network, name string, qtype uint16, change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	request := new(dns.Msg).SetQuestion(name, qtype)
	for _, c := range change {
		c(request)
	}
	client := &dns.Client{Net: network, Timeout: 10 * time.Second}
	answer, _, err := client.ExchangeContext(t.Context(), request, server)
	if err != nil {
		t.Fatalf("asking for %s %s over %s: %v", name, dns.TypeToString[qtype], network, err)
	}
	answer.Compress = true // so that its length is the one it came with
	return answer
}

// texts renders records without their owner's case, sorted.
func texts(records []dns.RR) []string {
	out := make([]string, 0, len(records))
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.Join(strings.Fields(rr.String()), " "))
		}
	}
	slices.Sort(out)
	return out
}

func TestRecords(t *testing.T) {
	server, _ := start(t, Options{}, objects()...)
	tests := []struct {
		name, question string
		qtype          uint16
		rcode          int
		answer, extra  []string
		refusal        bool // neither authoritative nor cacheable
	}{
		{
			name: "a Service is its cluster IP", question: "web.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"web.shop.svc.cluster.local. 5 IN A 10.79.0.20"},
		},
		{
			name: "the owner is spelt as the question", question: "Web.SHOP.svc.cluster.LOCAL.", qtype: dns.TypeA,
			answer: []string{"Web.SHOP.svc.cluster.LOCAL. 5 IN A 10.79.0.20"},
		},
		{name: "an IPv4 Service has no AAAA but exists", question: "web.shop.svc.cluster.local.", qtype: dns.TypeAAAA},
		{
			name: "a dual-stack Service has one", question: "dual.shop.svc.cluster.local.", qtype: dns.TypeAAAA,
			answer: []string{"dual.shop.svc.cluster.local. 5 IN AAAA fd00::21"},
		},
		{
			name: "a headless Service is its ready endpoints, each once", question: "db.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"db.shop.svc.cluster.local. 5 IN A 10.78.1.2", "db.shop.svc.cluster.local. 5 IN A 10.78.2.2"},
		},
		{
			name: "publishNotReadyAddresses publishes", question: "starting.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"starting.shop.svc.cluster.local. 5 IN A 10.78.1.9"},
		},
		{name: "a headless Service without endpoints does not exist", question: "empty.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{
			name: "a pod's hostname is under its Service", question: "db-0.db.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"db-0.db.shop.svc.cluster.local. 5 IN A 10.78.1.2"},
		},
		{
			name: "a pod without a hostname is its address with dashes", question: "10-78-2-2.db.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"10-78-2-2.db.shop.svc.cluster.local. 5 IN A 10.78.2.2"},
		},
		{name: "a pod that is not ready has no name", question: "10-78-3-2.db.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{
			name: "SRV of a named port points to the Service", question: "_metrics._tcp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV,
			answer: []string{"_metrics._tcp.web.shop.svc.cluster.local. 5 IN SRV 0 100 9090 web.shop.svc.cluster.local."},
			extra:  []string{"web.shop.svc.cluster.local. 5 IN A 10.79.0.20"},
		},
		{
			name: "SRV of the Service's name lists all ports", question: "web.shop.svc.cluster.local.", qtype: dns.TypeSRV,
			answer: []string{
				"web.shop.svc.cluster.local. 5 IN SRV 0 50 80 web.shop.svc.cluster.local.",
				"web.shop.svc.cluster.local. 5 IN SRV 0 50 9090 web.shop.svc.cluster.local.",
			},
			extra: []string{"web.shop.svc.cluster.local. 5 IN A 10.79.0.20"},
		},
		{
			name: "SRV of a headless port points to the endpoints", question: "_sql._tcp.db.shop.svc.cluster.local.", qtype: dns.TypeSRV,
			answer: []string{
				"_sql._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 50 5432 10-78-2-2.db.shop.svc.cluster.local.",
				"_sql._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 50 5432 db-0.db.shop.svc.cluster.local.",
			},
			extra: []string{"10-78-2-2.db.shop.svc.cluster.local. 5 IN A 10.78.2.2", "db-0.db.shop.svc.cluster.local. 5 IN A 10.78.1.2"},
		},
		{name: "a port's name has no address", question: "_http._tcp.web.shop.svc.cluster.local.", qtype: dns.TypeA},
		{name: "a protocol in use is a name without records", question: "_tcp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV},
		{name: "an unknown port does not exist", question: "_ftp._tcp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV, rcode: dns.RcodeNameError},
		{name: "a port under another protocol does not exist", question: "_http._udp.web.shop.svc.cluster.local.", qtype: dns.TypeSRV, rcode: dns.RcodeNameError},
		{
			name: "an ExternalName within the cluster is followed", question: "api.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{
				"api.shop.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local.",
				"web.shop.svc.cluster.local. 5 IN A 10.79.0.20",
			},
		},
		{
			name: "an ExternalName outside is an alias", question: "away.shop.svc.cluster.local.", qtype: dns.TypeA,
			answer: []string{"away.shop.svc.cluster.local. 5 IN CNAME example.com."},
		},
		{
			name: "CNAME of an ExternalName is the alias alone", question: "api.shop.svc.cluster.local.", qtype: dns.TypeCNAME,
			answer: []string{"api.shop.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local."},
		},
		{name: "a circle of aliases fails", question: "egg.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeServerFailure},
		{
			name: "PTR of a cluster IP is the Service", question: "20.0.79.10.in-addr.arpa.", qtype: dns.TypePTR,
			answer: []string{"20.0.79.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local."},
		},
		{
			name: "PTR of an endpoint with a hostname is that", question: "2.1.78.10.in-addr.arpa.", qtype: dns.TypePTR,
			answer: []string{"2.1.78.10.in-addr.arpa. 5 IN PTR db-0.db.shop.svc.cluster.local."},
		},
		{
			name: "PTR of an IPv6 cluster IP is the Service", question: dnsReverse(t, "fd00::21"), qtype: dns.TypePTR,
			answer: []string{dnsReverse(t, "fd00::21") + " 5 IN PTR dual.shop.svc.cluster.local."},
		},
		{name: "PTR of any other address does not exist", question: "9.9.9.9.in-addr.arpa.", qtype: dns.TypePTR, rcode: dns.RcodeNameError},
		{name: "a network has no name", question: "79.10.in-addr.arpa.", qtype: dns.TypePTR, rcode: dns.RcodeNameError},
		{name: "a Service that is not there does not exist", question: "nope.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "a namespace is a name without records", question: "shop.svc.cluster.local.", qtype: dns.TypeA},
		{name: "an empty namespace does not exist", question: "nope.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "svc is a name without records", question: "svc.cluster.local.", qtype: dns.TypeA},
		{name: "pod records do not exist", question: "10-78-1-2.shop.pod.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "too many labels do not exist", question: "a.b.c.web.shop.svc.cluster.local.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{
			name: "the version of the schema is told", question: "dns-version.cluster.local.", qtype: dns.TypeTXT,
			answer: []string{`dns-version.cluster.local. 5 IN TXT "1.1.0"`},
		},
		{
			name: "the domain has a name server", question: "cluster.local.", qtype: dns.TypeNS,
			answer: []string{"cluster.local. 5 IN NS ns.dns.cluster.local."},
		},
		{
			name: "the name server has an address", question: "ns.dns.cluster.local.", qtype: dns.TypeA,
			answer: []string{"ns.dns.cluster.local. 5 IN A 127.0.0.1"},
		},
		{
			name: "ANY gets the least possible", question: "db.shop.svc.cluster.local.", qtype: dns.TypeANY,
			answer: []string{`db.shop.svc.cluster.local. 5 IN HINFO "RFC8482" ""`}, refusal: true,
		},
		{name: "names outside are refused", question: "example.com.", qtype: dns.TypeA, rcode: dns.RcodeRefused, refusal: true},
		{name: "a single label, left over from the search list, does not exist", question: "nope.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "service.namespace, left over from the search list, does not exist", question: "nope.shop.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
		{name: "service.namespace.svc, left over from the search list, does not exist", question: "nope.shop.svc.", qtype: dns.TypeA, rcode: dns.RcodeNameError},
	}
	for _, test := range tests {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(test.name+" over "+network, func(t *testing.T) {
				got := ask(t, server, network, test.question, test.qtype)
				if got.Rcode != test.rcode {
					t.Errorf("code %s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[test.rcode])
				}
				if diff := cmp.Diff(append([]string{}, test.answer...), texts(got.Answer)); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(append([]string{}, test.extra...), texts(got.Extra)); diff != "" {
					t.Errorf("additional records (-want +got):\n%s", diff)
				}
				if got.Authoritative == test.refusal {
					t.Errorf("authoritative %v, want %v", got.Authoritative, !test.refusal)
				}
				// What is not there may be kept for as long as the SOA says, and only with one.
				wantSOA := len(test.answer) == 0 && !test.refusal && test.rcode != dns.RcodeServerFailure
				if hasSOA := len(got.Ns) == 1; hasSOA != wantSOA {
					t.Errorf("authority section %v, want an SOA: %v", got.Ns, wantSOA)
				} else if hasSOA && got.Ns[0].(*dns.SOA).Minttl != ttl {
					t.Errorf("negative TTL %d, want %d", got.Ns[0].(*dns.SOA).Minttl, ttl)
				}
			})
		}
	}
}

func dnsReverse(t *testing.T, address string) string {
	t.Helper()
	name, err := dns.ReverseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAnswersFollowTheCluster(t *testing.T) {
	server, client := start(t, Options{}, objects()...)
	slice := endpointSlice("db-1", "db", discoveryv1.Endpoint{Addresses: []string{"10.78.3.7"}})
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.DiscoveryV1().EndpointSlices("shop").Delete(t.Context(), "db-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"db.shop.svc.cluster.local. 5 IN A 10.78.3.7"}
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := texts(ask(t, server, "udp", "db.shop.svc.cluster.local.", dns.TypeA).Answer)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s still %v, want %v", got, want)
		}
	}
}

// TestStubResolver goes through Go's own resolver with a pod's search list: what a program in a pod does.
func TestStubResolver(t *testing.T) {
	server, _ := start(t, Options{}, objects()...)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
	got, err := resolver.LookupHost(t.Context(), "api.shop.svc.cluster.local.")
	if diff := cmp.Diff([]string{"10.79.0.20"}, got); err != nil || diff != "" {
		t.Errorf("through an alias: %v, %v", got, err)
	}
	_, err = resolver.LookupHost(t.Context(), "nope.shop.")
	if dnsErr, ok := err.(*net.DNSError); !ok || !dnsErr.IsNotFound || dnsErr.IsTimeout { //nolint:errorlint // the concrete type is promised
		t.Errorf("a name that is nowhere: %v, want not found", err)
	}
	_, records, err := resolver.LookupSRV(t.Context(), "sql", "tcp", "db.shop.svc.cluster.local.")
	if err != nil || len(records) != 2 {
		t.Errorf("SRV: %v, %v, want 2 records", records, err)
	}
}

// many returns a headless Service with n endpoints.
func many(n int) []runtime.Object {
	slice := endpointSlice("many-1", "many")
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.78.%d.%d", i/200, 2+i%200)}})
	}
	return []runtime.Object{service("shop", "many", headless), slice}
}

func TestLargeAnswersAreTruncatedOnlyWhereTheyMustBe(t *testing.T) {
	server, _ := start(t, Options{}, many(400)...)
	const name = "many.shop.svc.cluster.local."
	plain := ask(t, server, "udp", name, dns.TypeA)
	if !plain.Truncated || plain.Len() > dns.MinMsgSize || len(plain.Answer) == 0 {
		t.Errorf("plain UDP: truncated %v, %d bytes, %d records; want some records in at most 512 bytes", plain.Truncated, plain.Len(), len(plain.Answer))
	}
	edns := ask(t, server, "udp", name, dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, false) })
	if !edns.Truncated || edns.Len() > maxUDP || len(edns.Answer) <= len(plain.Answer) {
		t.Errorf("UDP with EDNS0: truncated %v, %d bytes, %d records; want more than %d in at most %d bytes", edns.Truncated, edns.Len(), len(edns.Answer), len(plain.Answer), maxUDP)
	}
	if opt := edns.IsEdns0(); opt == nil || opt.UDPSize() != maxUDP {
		t.Errorf("EDNS0 of the answer: %v, want size %d", opt, maxUDP)
	}
	whole := ask(t, server, "tcp", name, dns.TypeA)
	if whole.Truncated || len(whole.Answer) != 400 {
		t.Errorf("TCP: truncated %v, %d records, want all 400", whole.Truncated, len(whole.Answer))
	}
}

func TestUnknownEDNSVersionIsSaidToBe(t *testing.T) {
	server, _ := start(t, Options{}, objects()...)
	got := ask(t, server, "udp", "web.shop.svc.cluster.local.", dns.TypeA, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().SetVersion(1)
	})
	if got.Rcode != dns.RcodeBadVers {
		t.Errorf("code %s, want BADVERS", dns.RcodeToString[got.Rcode])
	}
}

// TestEveryEndpointComesFirstEquallyOften: with ten endpoints and 1,000 answers each is first 100 times on average, with
// a standard deviation of 9.5. The seed is fixed, so the counts are, too.
func TestEveryEndpointComesFirstEquallyOften(t *testing.T) {
	server, _ := start(t, Options{Seed: 1}, many(10)...)
	first := map[string]int{}
	conn, err := dns.DialTimeout("udp", server, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := &dns.Client{Timeout: 10 * time.Second}
	for range 1000 {
		answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("many.shop.svc.cluster.local.", dns.TypeA), conn)
		if err != nil || len(answer.Answer) != 10 {
			t.Fatalf("%v, %v", answer, err)
		}
		first[answer.Answer[0].(*dns.A).A.String()]++
	}
	for address, n := range first {
		if n < 60 || n > 140 {
			t.Errorf("%s came first %d times of 1000, want about 100", address, n)
		}
	}
	if len(first) != 10 {
		t.Errorf("%d of 10 endpoints ever came first", len(first))
	}
}

func TestOutsideNamesAreForwarded(t *testing.T) {
	upstream := dns.HandlerFunc(func(w dns.ResponseWriter, request *dns.Msg) {
		reply := new(dns.Msg).SetReply(request)
		rr, _ := dns.NewRR(request.Question[0].Name + " 60 IN A 192.0.2.1")
		reply.Answer = []dns.RR{rr}
		reply.SetEdns0(1232, false)
		_ = w.WriteMsg(reply)
	})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan error, 1)
	srv := &dns.Server{PacketConn: conn, Handler: upstream, NotifyStartedFunc: func() { close(started) }}
	go func() { ended <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()

	server, _ := start(t, Options{Upstream: []string{dead.LocalAddr().String(), conn.LocalAddr().String()}}, objects()...)
	tests := []struct {
		name, question string
		rcode          int
		want           []string
	}{
		{"a name outside", "example.com.", dns.RcodeSuccess, []string{"example.com. 60 IN A 192.0.2.1"}},
		{"an alias to outside", "away.shop.svc.cluster.local.", dns.RcodeSuccess, []string{
			"away.shop.svc.cluster.local. 5 IN CNAME example.com.", "example.com. 60 IN A 192.0.2.1",
		}},
		{"a name inside stays here", "nope.shop.svc.cluster.local.", dns.RcodeNameError, []string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, server, "udp", test.question, dns.TypeA)
			if got.IsEdns0() != nil {
				t.Error("EDNS0 in the answer to a question without")
			}
			if diff := cmp.Diff(test.want, texts(got.Answer)); diff != "" || got.Rcode != test.rcode || !got.RecursionAvailable {
				t.Errorf("code %s, recursion %v, (-want +got):\n%s", dns.RcodeToString[got.Rcode], got.RecursionAvailable, diff)
			}
		})
	}
}

func TestForwardingIsBounded(t *testing.T) {
	f := newForwarder([]string{"127.0.0.1:1"})
	for range maxForwarded {
		f.slots <- struct{}{}
	}
	if _, err := f.ask(t.Context(), dns.Question{Name: "example.com.", Qtype: dns.TypeA, Qclass: dns.ClassINET}, "udp"); err == nil {
		t.Error("a question beyond the limit was taken")
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		o    Options
	}{
		{"nowhere to listen", Options{}},
		{"a domain with an empty label", Options{Domain: "a..b", Listen: []string{"127.0.0.1:0"}}},
		{"a port that is taken", Options{Listen: []string{taken.LocalAddr().String()}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(t.Context(), test.o, fake.NewClientset(), func([]net.Addr) { t.Error("it served") })
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestMissingKubeconfig(t *testing.T) {
	if err := Run(t.Context(), Options{Kubeconfig: t.TempDir() + "/none", Listen: []string{"127.0.0.1:0"}}); err == nil {
		t.Error("no error without a kubeconfig")
	}
}
