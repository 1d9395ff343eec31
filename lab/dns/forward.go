package dns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxForwarded is how many forwarded questions may be under way. More fail at once: they would only queue up behind
	// a server that does not answer.
	maxForwarded = 128
	// upstreamTimeout is how long one upstream server has for its answer.
	upstreamTimeout = 2 * time.Second
)

// forwarder passes questions on to other servers.
type forwarder struct {
	servers []string
	slots   chan struct{}
}

// newForwarder returns a forwarder to servers (ip:port), asked in turn.
func newForwarder(servers []string) *forwarder {
	return &forwarder{servers: servers, slots: make(chan struct{}, maxForwarded)}
}

// ask returns the first answer that any server gives to question, over the network that it came by, so that a client
// that comes back over TCP for a truncated answer gets it whole.
func (f *forwarder) ask(ctx context.Context, question dns.Question, network string) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, fmt.Errorf("%d questions under way already", maxForwarded)
	}
	client := &dns.Client{Net: network, Timeout: upstreamTimeout, UDPSize: maxUDP}
	var failures []error
	for _, server := range f.servers {
		request := new(dns.Msg)
		request.Id = dns.Id()
		request.RecursionDesired = true
		request.Question = []dns.Question{question}
		request.SetEdns0(maxUDP, false)
		answer, _, err := client.ExchangeContext(ctx, request, server)
		switch {
		case err != nil:
			failures = append(failures, fmt.Errorf("asking %s: %w", server, err))
		case len(answer.Question) != 1 || !sameQuestion(answer.Question[0], question):
			failures = append(failures, fmt.Errorf("asking %s: the answer is to another question", server))
		default:
			return answer, nil
		}
	}
	return nil, errors.Join(failures...)
}
