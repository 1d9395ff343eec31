package loadgen

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podskew/podskew/record"
)

// Bounds of connection plans, as generous as those of the load.
const (
	maxStreams     = 1000
	maxRateSteps   = 1000
	maxChurn       = 1e6 // connections per second
	maxAttribution = 200 // characters of a header's name or a JSON path
)

// ability is something that a plan can ask for and not every protocol's driver can do.
type ability uint

const (
	canTLS ability = 1 << iota
	canAttribute
	canOpenLoop
	canPool // concurrency and pool policy
	canStreams
	canAge    // lifetime and churn
	canThink  // think time
	canFresh  // a number of requests per connection
	canSource // source addresses
	canGRPC
	canPorts // source ports
)

// abilities says what the driver of a protocol can do; false if there is no such protocol.
func abilities(protocol string) (ability, bool) {
	const common = canOpenLoop | canAge | canThink | canFresh | canSource
	switch protocol {
	case ProtocolHTTP1:
		return common | canTLS | canAttribute | canPool | canPorts, true
	case ProtocolHTTP2:
		return common | canTLS | canAttribute | canStreams | canPorts, true
	case ProtocolGRPC:
		return common | canTLS | canStreams | canGRPC, true
	case ProtocolWebSocket, ProtocolTCP:
		return common | canPorts, true
	case ProtocolUDP:
		return common, true
	}
	return 0, false
}

func protocols() []string {
	return []string{ProtocolHTTP1, ProtocolHTTP2, ProtocolGRPC, ProtocolWebSocket, ProtocolTCP, ProtocolUDP}
}

// checkAbilities refuses what the protocol's driver would have to ignore.
func (p *Plan) checkAbilities() []error {
	can, ok := abilities(p.Protocol)
	if !ok {
		return []error{fmt.Errorf("plan: protocol %q: want one of %s", p.Protocol, strings.Join(protocols(), ", "))}
	}
	var errs []error
	for _, f := range []struct {
		field  string
		set    bool
		needed ability
	}{
		{"tls", p.TLS, canTLS},
		{"attribution", p.Attribution != nil, canAttribute},
		{"rate", p.Rate != 0, canOpenLoop},
		{"concurrency", p.Concurrency != 0, canPool},
		{"poolPolicy", p.PoolPolicy != "", canPool},
		{"streamsPerConnection", p.StreamsPerConnection > 1, canStreams},
		{"connectionLifetime", p.ConnectionLifetime != 0, canAge},
		{"connectionsPerSecond", p.ConnectionsPerSecond != 0, canAge},
		{"thinkTime", p.ThinkTime != 0, canThink},
		{"requestsPerConnection", p.RequestsPerConnection != 0, canFresh},
		{"sources", len(p.Sources) > 0, canSource},
		{"sourcePorts", p.SourcePorts != nil, canPorts},
		{"grpcPolicy", p.GRPCPolicy != "", canGRPC},
		{"driver", p.Driver != "", canPool}, // http1
	} {
		if f.set && can&f.needed == 0 {
			errs = append(errs, fmt.Errorf("plan: %s: %s has none", f.field, p.Protocol))
		}
	}
	return errs
}

// checkPlan checks the fields that say how connections are used.
func (p *Plan) checkPlan() []error {
	errs := p.checkAbilities()
	for _, check := range []func() error{
		p.checkOpenLoop, p.checkRates, p.checkPool, p.checkAges, p.checkThinking, p.checkSources, p.checkSourcePorts, p.checkResolving,
		p.checkGRPC, p.checkAttribution, p.checkDriver,
	} {
		if err := check(); err != nil {
			errs = append(errs, fmt.Errorf("plan: %w", err))
		}
	}
	for _, w := range []struct {
		field, value string
		allowed      []string
	}{
		{"arrivals", p.Arrivals, []string{ArrivalsConstant, ArrivalsPoisson}},
		{"poolPolicy", p.PoolPolicy, []string{PoolRoundRobin, PoolLRU, PoolMRU, PoolFirstFree}},
		{"reconnect", p.Reconnect, []string{ReconnectImmediate, ReconnectBackoff}},
		{"resolve", p.Resolve, []string{ResolvePerRun, ResolvePerConnection}},
		{"resolveOrder", p.ResolveOrder, []string{OrderRoundRobin, OrderRandom, OrderFirst}},
		{"grpcPolicy", p.GRPCPolicy, []string{GRPCPickFirst, GRPCRoundRobin}},
		{"driver", p.Driver, []string{DriverEpoll, DriverConn}},
	} {
		if w.value != "" && !slices.Contains(w.allowed, w.value) {
			errs = append(errs, fmt.Errorf("plan: %s: %q: want one of %s", w.field, w.value, strings.Join(w.allowed, ", ")))
		}
	}
	for _, n := range []struct {
		field     string
		got, high int
	}{
		{"concurrency", p.Concurrency, max(p.Connections, 1)},
		{"streamsPerConnection", p.StreamsPerConnection, maxStreams},
		{"maxTuples", p.MaxTuples, maxRequests},
	} {
		if n.got < 0 || n.got > n.high {
			errs = append(errs, fmt.Errorf("plan: %s: %d: want 0 to %d", n.field, n.got, n.high))
		}
	}
	return errs
}

func (p *Plan) checkOpenLoop() error {
	if p.Rate == 0 {
		switch {
		case p.Arrivals != "":
			return errors.New("arrivals: they are those of an open loop: want rate, too")
		case len(p.Rates) > 0:
			return errors.New("rates: they change a rate: want rate, too")
		case p.Precise:
			return errors.New("precise: it is about the times of an open loop: want rate, too")
		}
		return nil
	}
	if !rateInRange(p.Rate) {
		return fmt.Errorf("rate: %g: want %g to %d, or 0", p.Rate, minRate, maxRequests)
	}
	switch {
	case p.Concurrency != 0:
		return errors.New("concurrency: it is that of a closed loop: with a rate, as many requests are in flight as it takes")
	case p.ThinkTime != 0:
		return errors.New("thinkTime: it is that of a closed loop: with a rate, requests are sent when they are due")
	}
	return nil
}

func rateInRange(rate float64) bool { return rate >= minRate && rate <= maxRequests } // NaN is not

func (p *Plan) checkRates() error {
	if len(p.Rates) > maxRateSteps {
		return fmt.Errorf("rates: %d steps: want up to %d", len(p.Rates), maxRateSteps)
	}
	last, highest := -1.0, p.Rate
	for i, step := range p.Rates {
		switch {
		case !(step.At > last && step.At >= 0 && step.At <= maxDuration.Seconds()):
			return fmt.Errorf("rates[%d].at: %g: want seconds up to %g, each step after the one before", i, step.At, maxDuration.Seconds())
		case step.Rate != 0 && !rateInRange(step.Rate):
			return fmt.Errorf("rates[%d].rate: %g: want %g to %d, or 0", i, step.Rate, minRate, maxRequests)
		case step.Ramp && step.At == 0:
			return fmt.Errorf("rates[%d]: a ramp takes time: want it to end after 0 s", i)
		}
		last, highest = step.At, max(highest, step.Rate)
	}
	switch {
	case len(p.Rates) > 0 && p.Requests > 0 && p.Rates[len(p.Rates)-1].Rate == 0:
		return errors.New("rates: the last rate is 0: with requests, the load would never end")
	case p.MaxRate > 0 && highest > p.MaxRate:
		return fmt.Errorf("rate: %g requests per second are more than the maxRate of %g that the plan is held to", highest, p.MaxRate)
	}
	return nil
}

func (p *Plan) checkPool() error {
	switch {
	case p.Concurrency != 0 && p.Concurrency < p.Connections && p.PoolPolicy == "":
		return fmt.Errorf("poolPolicy: it is missing: %d requests at a time on %d connections need to know which one is used next", p.Concurrency, p.Connections)
	case p.PoolPolicy != "" && p.ThinkTime != 0:
		return errors.New("thinkTime: connections of a pool do not wait for their own next request: want thinkTime or poolPolicy")
	}
	return nil
}

func (p *Plan) checkAges() error {
	switch {
	case p.ConnectionLifetime < 0 || p.ConnectionLifetime > maxDuration:
		return fmt.Errorf("connectionLifetime: %s: want up to %s", p.ConnectionLifetime, maxDuration)
	case p.ConnectionLifetime != 0 && p.ConnectionLifetime < time.Millisecond:
		return fmt.Errorf("connectionLifetime: %s: want 1ms or more, or requestsPerConnection: 1", p.ConnectionLifetime)
	case !(p.LifetimeJitter >= 0 && p.LifetimeJitter <= 1):
		return fmt.Errorf("lifetimeJitter: %g: want 0 to 1", p.LifetimeJitter)
	case p.LifetimeJitter != 0 && p.ConnectionLifetime == 0:
		return errors.New("lifetimeJitter: it varies a lifetime: want connectionLifetime, too")
	case p.ConnectionsPerSecond != 0 && !(p.ConnectionsPerSecond >= minRate && p.ConnectionsPerSecond <= maxChurn):
		return fmt.Errorf("connectionsPerSecond: %g: want %g to %g, or 0", p.ConnectionsPerSecond, minRate, maxChurn)
	case p.RequestsPerConnection == 1 && p.ConnectionsPerSecond != 0:
		return errors.New("connectionsPerSecond: with one request per connection all connections are new: want rate")
	case p.RequestsPerConnection == 1 && p.ConnectionLifetime != 0:
		return errors.New("connectionLifetime: a connection of one request has none")
	}
	return nil
}

func (p *Plan) checkThinking() error {
	switch {
	case p.ThinkTime < 0 || p.ThinkTime > maxDuration:
		return fmt.Errorf("thinkTime: %s: want up to %s", p.ThinkTime, maxDuration)
	case p.ThinkTime != 0 && p.RequestsPerConnection == 1:
		return errors.New("thinkTime: a connection of one request has no next one to wait for")
	}
	return nil
}

func (p *Plan) checkSources() error {
	if len(p.Sources) > maxIPs {
		return fmt.Errorf("sources: %d: want up to %d", len(p.Sources), maxIPs)
	}
	seen := map[netip.Addr]bool{}
	for i, source := range p.Sources {
		addr, err := netip.ParseAddr(source)
		switch {
		case err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast():
			return fmt.Errorf("sources[%d]: %q: want an IP address of one host", i, source)
		case seen[addr]:
			return fmt.Errorf("sources[%d]: %s is there twice", i, source)
		}
		seen[addr] = true
		for _, a := range p.Addresses {
			if to, err := netip.ParseAddrPort(a.HostPort); err == nil && to.Addr().Unmap().Is4() != addr.Is4() {
				return fmt.Errorf("sources[%d]: from %s there is no way to %s: one is IPv4, the other IPv6", i, source, a.HostPort)
			}
		}
	}
	return nil
}

func (p *Plan) checkResolving() error {
	if p.Resolve == "" && p.ResolveOrder == "" || p.hasNames() {
		return nil
	}
	return errors.New("resolve: all addresses are IP addresses: want a name that can be resolved")
}

// hasNames reports whether an address has to be resolved.
func (p *Plan) hasNames() bool {
	return slices.ContainsFunc(p.Addresses, func(a record.Address) bool {
		_, err := netip.ParseAddrPort(a.HostPort)
		return err != nil
	})
}

func (p *Plan) checkGRPC() error {
	if p.GRPCPolicy == GRPCRoundRobin && !p.hasNames() && len(p.Addresses) == 1 {
		return errors.New("grpcPolicy: round_robin needs a name or several addresses: one address has one connection")
	}
	if p.GRPCPolicy == GRPCRoundRobin && (p.RequestsPerConnection != 0 || p.ConnectionsPerSecond != 0) {
		return errors.New("grpcPolicy: under round_robin the channel decides which connection is used: want neither requestsPerConnection nor connectionsPerSecond; connectionLifetime is that of the channel")
	}
	if path, _, _ := strings.Cut(p.Path, "?"); p.Protocol == ProtocolGRPC && !slices.Contains(grpcPaths(), path) {
		return fmt.Errorf("path %q: want / or a method of echo pods: %s", p.Path, strings.Join(grpcPaths()[1:], ", "))
	}
	return nil
}

func (p *Plan) checkAttribution() error {
	if err := p.checkSession(); err != nil {
		return err
	}
	if p.Attribution == nil {
		return nil
	}
	header, path := p.Attribution.Header, p.Attribution.JSON
	switch {
	case (header == "") == (path == ""):
		return errors.New("attribution: want header or json, one of them")
	case len(header) > maxAttribution || strings.ContainsFunc(header, func(c rune) bool { return c >= 128 || !isToken(byte(c)) }):
		return fmt.Errorf("attribution: header %q: want the name of a header field", header)
	case path != "" && (len(path) > maxAttribution || slices.Contains(strings.Split(path, "."), "")):
		return fmt.Errorf("attribution: json %q: want names joined by dots", path)
	}
	return nil
}

func (p *Plan) checkDriver() error {
	if p.Driver == DriverEpoll && p.TLS {
		return errors.New("driver: epoll has no TLS: want conn, or none for the one that fits")
	}
	return nil
}
