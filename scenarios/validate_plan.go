package scenarios

import (
	"fmt"
	"strconv"
	"time"
)

// validatePlan checks connections and requests.
func validatePlan(c *Client, path string, p *problems) {
	if !p.src.has(path + ".connections") {
		p.add(path+".connections", "missing: write how many connections each client keeps open, such as connections: 4")
	} else {
		checkRange(p, path+".connections", c.Connections, 1, maxConnections)
	}
	checkRange(p, path+".requestsPerConnection", c.RequestsPerConnection, 0, maxRequests)
	checkDuration(p, path+".connectTimeout", c.ConnectTimeout, minRequestTimeout, maxRequestTimeout)
	checkDuration(p, path+".timeout", c.Timeout, minRequestTimeout, maxRequestTimeout)
	validateEnd(c, path, p)
}

// validateEnd checks when a client is done.
func validateEnd(c *Client, path string, p *problems) {
	requests, duration := p.src.has(path+".requests"), p.src.has(path+".duration")
	switch {
	case requests && duration:
		p.add(path+".duration", "requests and duration exclude each other: keep the one that ends the run")
	case duration:
		if p.src.has(path + ".zipfExponent") {
			p.add(path+".zipfExponent", "it deals a number of requests: write requests, such as requests: 3000, instead of duration, or remove it")
		}
		checkDuration(p, path+".duration", c.Duration, minDuration, maxDuration)
	case requests:
		validateRequests(c, path, p)
	default:
		p.add(path, "no end: write duration, such as duration: 5s, or requests, such as requests: 3000")
	}
}

func validateRequests(c *Client, path string, p *problems) {
	checkRange(p, path+".requests", c.Requests, 1, maxRequests)
	validateZipf(c, path+".zipfExponent", p)
	if c.Requests < 1 || c.Connections < 1 {
		return
	}
	if c.Requests < c.Connections {
		p.add(path+".requests", "%d requests leave some of %d connections without any: write at least %d, or fewer connections",
			c.Requests, c.Connections, c.Connections)
		return
	}
	most := (c.Requests + c.Connections - 1) / c.Connections
	if c.PoolPolicy != "" || c.Rate > 0 {
		most = c.Requests // requests are not dealt to connections beforehand
	}
	if c.RequestsPerConnection > most {
		p.add(path+".requestsPerConnection",
			"%d is never reached: each of %d connections sends at most %d of %d requests; write 0 to keep it open, or at most %d",
			c.RequestsPerConnection, c.Connections, most, c.Requests, most)
	}
}

// validateZipf checks how requests are dealt to connections.
func validateZipf(c *Client, path string, p *problems) {
	if !p.src.has(path) {
		return
	}
	checkNumber(p, path, c.ZipfExponent, 0, maxZipfExponent)
	if c.Rate > 0 || c.PoolPolicy != "" {
		p.add(path, "requests are not dealt to connections beforehand with rate or poolPolicy: remove them, or it")
	}
}

// validateWarmUp checks how long load is sent before the run begins.
func validateWarmUp(s *Scenario, p *problems) {
	if p.src.has("spec.warmUp") {
		checkDuration(p, "spec.warmUp", s.Spec.WarmUp, 0, maxWarmUp)
	}
}

// MaxSettling is how much longer than its clients' duration a run with spec.settle goes on at most.
const MaxSettling = time.Minute

// validateSettle checks how long load is sent after the last event.
func validateSettle(s *Scenario, p *problems) {
	const at = "spec.settle"
	if !p.src.has(at) {
		return
	}
	checkDuration(p, at, s.Spec.Settle, minSettle, MaxSettling)
	if len(s.Spec.Events) == 0 {
		p.add(at, "it counts from the last event, and there is none: remove it, or add an event under spec.events")
	}
	for i := range s.Spec.Clients {
		if path := fmt.Sprintf("spec.clients[%d].requests", i); p.src.has(path) {
			p.add(path, "with spec.settle every client goes on until events are over: write duration, the least that it lasts, instead")
		}
	}
}

// validateProtocol checks what not every protocol has.
func validateProtocol(c *Client, path string, p *problems) {
	protocols().check(p, path+".protocol", c.Protocol)
	grpcPolicies().check(p, path+".grpcPolicy", c.GRPCPolicy)
	multiplexed := c.Protocol == ProtocolHTTP2 || c.Protocol == ProtocolGRPC
	if c.TLS && !multiplexed && c.Protocol != ProtocolHTTP1 {
		p.add(path+".tls", "there is no TLS for protocol %s here: remove it, or write protocol: http1, http2 or grpc", c.Protocol)
	}
	if at := path + ".streamsPerConnection"; p.src.has(at) {
		checkRange(p, at, c.StreamsPerConnection, 1, maxStreams)
		if c.StreamsPerConnection > 1 && !multiplexed {
			p.add(at, "%s sends one request at a time on a connection: write protocol: http2 or grpc, or more connections", c.Protocol)
		}
	}
	switch at := path + ".grpcPolicy"; {
	case !p.src.has(at):
	case c.Protocol != ProtocolGRPC:
		p.add(at, "only gRPC has it: write protocol: grpc, or remove it")
	case c.GRPCPolicy == "round_robin" && c.Target != TargetHeadless:
		p.add(at, "round_robin needs a name that stands for all pods: write target: headless and spec.service.clusterIP: None")
	}
}

// validateConnections checks the life of connections.
func validateConnections(c *Client, path string, p *problems) {
	poolPolicies().check(p, path+".poolPolicy", c.PoolPolicy)
	reconnects().check(p, path+".reconnect", c.Reconnect)
	if p.src.has(path + ".connectionLifetime") {
		checkDuration(p, path+".connectionLifetime", c.ConnectionLifetime, minLifetime, maxDuration)
	}
	checkNumber(p, path+".lifetimeJitter", c.LifetimeJitter, 0, 1)
	if c.LifetimeJitter > 0 && c.ConnectionLifetime == 0 {
		p.add(path+".lifetimeJitter", "a fraction of nothing: write connectionLifetime, such as connectionLifetime: 30s, or remove it")
	}
	if c.ConnectionsPerSecond != 0 {
		checkNumber(p, path+".connectionsPerSecond", c.ConnectionsPerSecond, minRate, maxRate)
	}
	validateThinkTime(c, path+".thinkTime", p)
	validateConcurrency(c, path+".concurrency", p)
	if c.PoolPolicy != "" && c.Protocol != ProtocolHTTP1 {
		p.add(path+".poolPolicy", "only HTTP/1.1 clients have a pool here: remove it, or write protocol: http1")
	}
	if c.RequestsPerConnection != 1 {
		return
	}
	if c.ConnectionLifetime > 0 {
		p.add(path+".connectionLifetime", "a connection of one request has no other end: remove it or requestsPerConnection: 1")
	}
	if c.ConnectionsPerSecond > 0 {
		p.add(path+".connectionsPerSecond", "with one request per connection every connection is new: remove it, or write rate: %s instead",
			plainNumber(c.ConnectionsPerSecond))
	}
}

func validateThinkTime(c *Client, path string, p *problems) {
	checkDuration(p, path, c.ThinkTime, 0, maxDuration)
	switch {
	case c.ThinkTime <= 0:
	case c.Rate > 0:
		p.add(path, "with a rate the schedule says when requests are sent, not the answers: remove it or rate")
	case c.PoolPolicy != "":
		p.add(path, "connections of a pool have no next request of their own to wait for: remove it or poolPolicy")
	case c.RequestsPerConnection == 1:
		p.add(path, "a connection of one request has no next one to wait for: remove it or requestsPerConnection: 1")
	}
}

func validateConcurrency(c *Client, path string, p *problems) {
	if !p.src.has(path) {
		return
	}
	if c.Protocol != ProtocolHTTP1 {
		p.add(path, "only HTTP/1.1 clients have fewer requests than connections here: remove it, or write protocol: http1")
		return
	}
	checkRange(p, path, c.Concurrency, 1, maxConnections)
	switch {
	case c.Rate > 0:
		p.add(path, "with a rate the schedule says how many requests are under way: remove it or rate")
	case c.Connections > 0 && c.Concurrency > c.Connections:
		p.add(path, "%d requests at a time on %d connections: write at most %d, or more connections", c.Concurrency, c.Connections, c.Connections)
	case c.Concurrency < c.Connections && c.PoolPolicy == "":
		p.add(path, "fewer requests than connections need a rule for which idle connection is next: write poolPolicy: roundRobin, lru, mru or firstFree")
	}
}

// validateOpenLoop checks a rate, how it changes and how requests arrive.
func validateOpenLoop(c *Client, path string, p *problems) {
	arrivals().check(p, path+".arrivals", c.Arrivals)
	if c.Rate != 0 && !(c.Rate >= minRate && c.Rate <= maxRate) {
		p.add(path+".rate", "%s is out of range: %s to %d; leave it out to send as fast as answers come",
			plainNumber(c.Rate), plainNumber(minRate), maxRate)
	}
	if c.Rate == 0 {
		for _, field := range []string{"arrivals", "rates"} {
			if p.src.has(path + "." + field) {
				p.add(path+"."+field, "has no effect without a rate: write rate, such as rate: 100, or remove it")
			}
		}
		return
	}
	if n := len(c.Rates); n > maxRateSteps {
		p.add(path+".rates", "%d changes: at most %d", n, maxRateSteps)
		return
	}
	last := time.Duration(0)
	for i, step := range c.Rates {
		at := fmt.Sprintf("%s.rates[%d]", path, i)
		if !p.src.has(at + ".rate") {
			p.add(at+".rate", "missing: write the requests per second of each client from then on, such as rate: 200")
		}
		if step.Rate != 0 {
			checkNumber(p, at+".rate", step.Rate, minRate, maxRate)
		}
		switch {
		case !p.src.has(at + ".at"):
			p.add(at+".at", "missing: write when, such as at: 2s")
		case step.At <= last:
			p.add(at+".at", "%s is not after %s: changes stand in order of time, the first after the start", step.At, last)
		case c.Duration > 0 && step.At >= c.Duration:
			p.add(at+".at", "%s is after the end: the client runs for %s", step.At, c.Duration)
		}
		last = max(last, step.At)
	}
	if n := len(c.Rates); n > 0 && c.Rates[n-1].Rate == 0 && c.Requests > 0 {
		p.add(fmt.Sprintf("%s.rates[%d].rate", path, n-1), "the client would never end: write a rate above 0, or duration instead of requests")
	}
}

// checkNumber notes a number outside low..high.
func checkNumber(p *problems, path string, value, low, high float64) {
	if !(value >= low && value <= high) { // NaN is neither
		p.add(path, "%s is out of range: %s to %s", plainNumber(value), plainNumber(low), plainNumber(high))
	}
}

// plainNumber writes a number as files do: 1000000, not 1e+06.
func plainNumber(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
