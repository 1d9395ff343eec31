package dns

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxUDP is the largest answer sent over UDP, in bytes, whatever the client would take: it passes any path without
	// fragments. Larger answers are truncated, and clients ask again over TCP.
	maxUDP = 1232
	// maxAliases bounds a chain of ExternalName Services, which may well be a circle.
	maxAliases = 8
	// questionTimeout bounds the work on one question, forwarding included.
	questionTimeout = 5 * time.Second
)

// handler answers questions. It is safe for concurrent use.
type handler struct {
	zone    *zone
	forward *forwarder // nil: names outside the zone are refused
	logger  *slog.Logger

	mu     sync.Mutex // guards random
	random *rand.Rand
}

// ServeDNS implements dns.Handler.
func (h *handler) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), questionTimeout)
	defer cancel()
	network := "udp"
	if addr := w.RemoteAddr(); addr != nil {
		network = addr.Network()
	}
	reply := h.reply(ctx, request, network)
	if err := w.WriteMsg(reply); err != nil {
		h.logger.Debug("answering failed", "client", w.RemoteAddr(), "error", err)
	}
}

// reply makes the answer to a message that came over network (udp or tcp), fit to be sent back over it.
func (h *handler) reply(ctx context.Context, request *dns.Msg, network string) *dns.Msg {
	reply := new(dns.Msg)
	edns := request.IsEdns0()
	switch {
	case request.Opcode != dns.OpcodeQuery:
		reply.SetRcode(request, dns.RcodeNotImplemented)
	case len(request.Question) != 1:
		reply.SetRcode(request, dns.RcodeFormatError)
	case edns != nil && edns.Version() != 0:
		reply.SetRcode(request, dns.RcodeBadVers)
	case request.Question[0].Qclass != dns.ClassINET:
		reply.SetRcode(request, dns.RcodeRefused)
	default:
		reply.SetReply(request)
		reply.RecursionAvailable = h.forward != nil
		h.answer(ctx, reply, network)
		h.shuffle(reply.Answer)
	}
	reply.Compress = true
	limit := dns.MaxMsgSize
	if network == "udp" {
		limit = dns.MinMsgSize
	}
	if edns != nil {
		reply.SetEdns0(maxUDP, edns.Do())
		if network == "udp" {
			limit = int(min(max(edns.UDPSize(), dns.MinMsgSize), maxUDP))
		}
	}
	reply.Truncate(limit)
	return reply
}

// answer fills in the sections and the code of a reply to its one question.
func (h *handler) answer(ctx context.Context, reply *dns.Msg, network string) {
	question := reply.Question[0]
	if question.Qtype == dns.TypeANY {
		// RFC 8482: a minimal answer is allowed, and better than help for amplification.
		hinfo := &dns.HINFO{Hdr: header(dns.TypeHINFO), Cpu: "RFC8482"}
		hinfo.Hdr.Name = question.Name
		reply.Answer = []dns.RR{hinfo}
		return
	}
	owner := question.Name
	for range maxAliases {
		out, apex := h.resolve(dns.CanonicalName(owner), question.Qtype)
		if apex == "" {
			h.outside(ctx, reply, dns.Question{Name: owner, Qtype: question.Qtype, Qclass: question.Qclass}, network)
			return
		}
		reply.Authoritative = true
		for _, rr := range slices.Concat(out.answer, out.extra) {
			if rr.Header().Name == "" {
				rr.Header().Name = owner
			}
		}
		reply.Answer = append(reply.Answer, out.answer...)
		reply.Extra = append(reply.Extra, out.extra...)
		if out.aliasTo == "" || question.Qtype == dns.TypeCNAME {
			h.negative(reply, out, apex)
			return
		}
		owner = out.aliasTo
	}
	// A circle of aliases: what has been gathered would send a resolver round it.
	reply.Answer, reply.Extra, reply.Rcode = nil, nil, dns.RcodeServerFailure
}

// negative marks a reply that names nothing, so that resolvers may keep that for a while.
func (h *handler) negative(reply *dns.Msg, out outcome, apex string) {
	if !out.exists {
		reply.Rcode = dns.RcodeNameError
	}
	if len(out.answer) == 0 {
		reply.Ns = []dns.RR{h.zone.soa(apex)}
	}
}

// resolve looks a canonical name up in what this server answers for, and returns the apex of that, or "" for a name that
// is somebody else's.
func (h *handler) resolve(name string, qtype uint16) (out outcome, apex string) {
	if h.zone.contains(name) {
		return h.zone.lookup(name, qtype), h.zone.domain
	}
	for _, arpa := range []string{"in-addr.arpa.", "ip6.arpa."} {
		if !dns.IsSubDomain(arpa, name) {
			continue
		}
		out := h.zone.reverse(name, qtype)
		if !out.exists && h.forward != nil {
			return outcome{}, ""
		}
		return out, arpa
	}
	if h.forward == nil && h.zone.leftOver(name) {
		return outcome{}, "."
	}
	return outcome{}, ""
}

// outside deals with a name that this server does not answer for. If an alias led there and there is nobody to ask, the
// alias alone is the answer.
func (h *handler) outside(ctx context.Context, reply *dns.Msg, question dns.Question, network string) {
	if h.forward == nil {
		if len(reply.Answer) == 0 {
			reply.Rcode = dns.RcodeRefused
		}
		return
	}
	answer, err := h.forward.ask(ctx, question, network)
	if err != nil {
		h.logger.Debug("forwarding failed", "name", question.Name, "error", err)
		reply.Rcode = dns.RcodeServerFailure
		return
	}
	reply.Rcode = answer.Rcode
	reply.Answer = append(reply.Answer, answer.Answer...)
	reply.Ns = answer.Ns
	for _, rr := range answer.Extra {
		// These two concern the hop to the upstream server only.
		if rr.Header().Rrtype != dns.TypeOPT && rr.Header().Rrtype != dns.TypeTSIG {
			reply.Extra = append(reply.Extra, rr)
		}
	}
	reply.Truncated = answer.Truncated
}

// shuffle puts address records in a random order, leaving aliases in front of them: many resolvers hand addresses to
// their callers in the order received, and the first one gets the connection.
func (h *handler) shuffle(answer []dns.RR) {
	first := slices.IndexFunc(answer, isAddress)
	if first < 0 {
		return
	}
	slices.SortStableFunc(answer, func(a, b dns.RR) int { return order(a) - order(b) })
	first = slices.IndexFunc(answer, isAddress)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.random.Shuffle(len(answer)-first, func(i, j int) {
		answer[first+i], answer[first+j] = answer[first+j], answer[first+i]
	})
}

// order is 1 for address records and 0 for everything else.
func order(rr dns.RR) int {
	if isAddress(rr) {
		return 1
	}
	return 0
}

// isAddress reports whether rr is an A or AAAA record.
func isAddress(rr dns.RR) bool {
	return rr.Header().Rrtype == dns.TypeA || rr.Header().Rrtype == dns.TypeAAAA
}

// sameQuestion reports whether a and b ask the same, whatever the case of letters.
func sameQuestion(a, b dns.Question) bool {
	return strings.EqualFold(a.Name, b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}
