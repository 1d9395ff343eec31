package loadgen

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

func TestPlansThatMakeSense(t *testing.T) {
	named := []record.Address{{HostPort: "echo.ns.svc:80"}}
	for name, with := range map[string]func(p *Plan){
		"a closed loop":                 nil,
		"fresh connections":             func(p *Plan) { p.RequestsPerConnection, p.Requests, p.Duration = 1, 1000, 0 },
		"a pool":                        func(p *Plan) { p.Connections, p.Concurrency, p.PoolPolicy = 10, 4, PoolMRU },
		"a pool with all at work":       func(p *Plan) { p.Connections, p.PoolPolicy = 10, PoolLRU },
		"every connection at work":      func(p *Plan) { p.Connections, p.Concurrency = 10, 10 },
		"an open loop":                  func(p *Plan) { p.Rate, p.Arrivals, p.Seed, p.Precise = 100, ArrivalsPoisson, 3, true },
		"an open loop over a pool":      func(p *Plan) { p.Rate, p.PoolPolicy, p.Connections = 100, PoolFirstFree, 5 },
		"an open loop held to its rate": func(p *Plan) { p.Rate, p.MaxRate = 100, 100 },
		"steps and ramps": func(p *Plan) {
			p.Rate, p.Rates = 1, []record.RateStep{{At: 1, Rate: 0}, {At: 2, Rate: 100, Ramp: true}}
		},
		"fresh connections at a rate":      func(p *Plan) { p.Rate, p.RequestsPerConnection = 100, 1 },
		"lifetimes":                        func(p *Plan) { p.ConnectionLifetime, p.LifetimeJitter = time.Second, 0.5 },
		"churn":                            func(p *Plan) { p.ConnectionsPerSecond, p.Reconnect = 10, ReconnectImmediate },
		"think time":                       func(p *Plan) { p.ThinkTime, p.RequestsPerConnection = time.Second, 10 },
		"TLS, by the header of a stranger": func(p *Plan) { p.TLS, p.Attribution = true, &Attribution{Header: "X-Served-By"} },
		"a JSON path":                      func(p *Plan) { p.Attribution = &Attribution{JSON: "metadata.pod"} },
		"source addresses":                 func(p *Plan) { p.Sources = []string{"10.0.0.1", "10.0.0.2"} },
		"names":                            func(p *Plan) { p.Addresses, p.Resolve, p.ResolveOrder = named, ResolvePerConnection, OrderRandom },
		"many streams":                     func(p *Plan) { p.Protocol, p.StreamsPerConnection = ProtocolHTTP2, 100 },
		"a gRPC channel":                   func(p *Plan) { p.Protocol, p.GRPCPolicy = ProtocolGRPC, GRPCPickFirst },
		"gRPC round robin over a name":     func(p *Plan) { p.Protocol, p.GRPCPolicy, p.Addresses = ProtocolGRPC, GRPCRoundRobin, named },
		"a driver":                         func(p *Plan) { p.Driver = DriverConn },
		"a cap on tuples":                  func(p *Plan) { p.MaxTuples = 1000 },
	} {
		if err := planOf(with).Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlansThatDoNotMakeSense(t *testing.T) {
	for name, tc := range map[string]struct {
		with func(p *Plan)
		want string
	}{
		"a protocol of its own":                 {func(p *Plan) { p.Protocol = "quic" }, `protocol "quic": want one of http1, http2, grpc, websocket, tcp, udp`},
		"TLS over UDP":                          {func(p *Plan) { p.Protocol, p.TLS = ProtocolUDP, true }, "tls: udp has none"},
		"streams over HTTP/1.1":                 {func(p *Plan) { p.StreamsPerConnection = 2 }, "streamsPerConnection: http1 has none"},
		"a gRPC policy over HTTP/2":             {func(p *Plan) { p.Protocol, p.GRPCPolicy = ProtocolHTTP2, GRPCPickFirst }, "grpcPolicy: http2 has none"},
		"a driver for TCP":                      {func(p *Plan) { p.Protocol, p.Driver = ProtocolTCP, DriverConn }, "driver: tcp has none"},
		"epoll with TLS":                        {func(p *Plan) { p.TLS, p.Driver = true, DriverEpoll }, "epoll has no TLS"},
		"an unknown driver":                     {func(p *Plan) { p.Driver = "io_uring" }, `driver: "io_uring": want one of epoll, conn`},
		"arrivals of a closed loop":             {func(p *Plan) { p.Arrivals = ArrivalsPoisson }, "arrivals: they are those of an open loop"},
		"unknown arrivals":                      {func(p *Plan) { p.Rate, p.Arrivals = 1, "bursty" }, `arrivals: "bursty": want one of constant, poisson`},
		"precision of a closed loop":            {func(p *Plan) { p.Precise = true }, "precise: it is about the times of an open loop"},
		"steps of no rate":                      {func(p *Plan) { p.Rates = []record.RateStep{{At: 1, Rate: 2}} }, "rates: they change a rate"},
		"a rate that is none":                   {func(p *Plan) { p.Rate = math.NaN() }, "rate: NaN: want"},
		"a negative rate":                       {func(p *Plan) { p.Rate = -1 }, "rate: -1: want"},
		"a step to a rate that is none":         {func(p *Plan) { p.Rate, p.Rates = 1, []record.RateStep{{At: 1, Rate: math.Inf(1)}} }, "rates[0].rate: +Inf: want"},
		"steps out of order":                    {func(p *Plan) { p.Rate, p.Rates = 1, []record.RateStep{{At: 1, Rate: 1}, {At: 1, Rate: 2}} }, "rates[1].at: 1: want seconds"},
		"a step at no time":                     {func(p *Plan) { p.Rate, p.Rates = 1, []record.RateStep{{At: math.NaN(), Rate: 1}} }, "rates[0].at: NaN"},
		"a ramp that takes no time":             {func(p *Plan) { p.Rate, p.Rates = 1, []record.RateStep{{At: 0, Rate: 1, Ramp: true}} }, "a ramp takes time"},
		"too many steps":                        {func(p *Plan) { p.Rate, p.Rates = 1, make([]record.RateStep, 1001) }, "rates: 1001 steps"},
		"a load that never ends":                {func(p *Plan) { p.Rate, p.Requests, p.Duration, p.Rates = 1, 5, 0, []record.RateStep{{At: 1}} }, "the load would never end"},
		"a rate above its limit":                {func(p *Plan) { p.Rate, p.MaxRate, p.Rates = 1, 5, []record.RateStep{{At: 1, Rate: 6}} }, "6 requests per second are more than the maxRate of 5"},
		"concurrency of an open loop":           {func(p *Plan) { p.Rate, p.Concurrency = 1, 1 }, "concurrency: it is that of a closed loop"},
		"thinking in an open loop":              {func(p *Plan) { p.Rate, p.ThinkTime = 1, time.Second }, "thinkTime: it is that of a closed loop"},
		"more at a time than connections":       {func(p *Plan) { p.Concurrency = 2 }, "concurrency: 2: want 0 to 1"},
		"negative concurrency":                  {func(p *Plan) { p.Concurrency = -1 }, "concurrency: -1: want 0 to 1"},
		"fewer at a time, but which":            {func(p *Plan) { p.Connections, p.Concurrency = 3, 2 }, "poolPolicy: it is missing: 2 requests at a time on 3 connections"},
		"an unknown policy":                     {func(p *Plan) { p.PoolPolicy = "fifo" }, `poolPolicy: "fifo": want one of roundRobin, lru, mru, firstFree`},
		"thinking in a pool":                    {func(p *Plan) { p.PoolPolicy, p.ThinkTime = PoolLRU, time.Second }, "want thinkTime or poolPolicy"},
		"thinking for the next connection":      {func(p *Plan) { p.RequestsPerConnection, p.ThinkTime = 1, time.Second }, "thinkTime: a connection of one request"},
		"thinking backwards":                    {func(p *Plan) { p.ThinkTime = -1 }, "thinkTime: -1ns"},
		"a lifetime of next to nothing":         {func(p *Plan) { p.ConnectionLifetime = time.Microsecond }, "connectionLifetime: 1µs: want 1ms or more"},
		"a negative lifetime":                   {func(p *Plan) { p.ConnectionLifetime = -1 }, "connectionLifetime: -1ns: want up to"},
		"a lifetime of one request":             {func(p *Plan) { p.ConnectionLifetime, p.RequestsPerConnection = time.Second, 1 }, "connectionLifetime: a connection of one request has none"},
		"jitter of no lifetime":                 {func(p *Plan) { p.LifetimeJitter = 0.1 }, "lifetimeJitter: it varies a lifetime"},
		"jitter of more than all":               {func(p *Plan) { p.ConnectionLifetime, p.LifetimeJitter = time.Second, 1.5 }, "lifetimeJitter: 1.5: want 0 to 1"},
		"jitter that is no number":              {func(p *Plan) { p.ConnectionLifetime, p.LifetimeJitter = time.Second, math.NaN() }, "lifetimeJitter: NaN: want 0 to 1"},
		"churn of fresh connections":            {func(p *Plan) { p.ConnectionsPerSecond, p.RequestsPerConnection = 1, 1 }, "connectionsPerSecond: with one request per connection"},
		"churn beyond measure":                  {func(p *Plan) { p.ConnectionsPerSecond = math.Inf(1) }, "connectionsPerSecond: +Inf: want"},
		"an unknown reconnect":                  {func(p *Plan) { p.Reconnect = "never" }, `reconnect: "never": want one of immediate, backoff`},
		"a source that is a name":               {func(p *Plan) { p.Sources = []string{"client"} }, `sources[0]: "client": want an IP address of one host`},
		"a source that is everybody":            {func(p *Plan) { p.Sources = []string{"0.0.0.0"} }, "want an IP address of one host"},
		"a source twice":                        {func(p *Plan) { p.Sources = []string{"10.0.0.1", "10.0.0.1"} }, "sources[1]: 10.0.0.1 is there twice"},
		"a source of the other family":          {func(p *Plan) { p.Sources = []string{"fd00::1"} }, "from fd00::1 there is no way to 10.96.0.10:80"},
		"resolving what is resolved":            {func(p *Plan) { p.Resolve = ResolvePerRun }, "resolve: all addresses are IP addresses"},
		"an order of nothing":                   {func(p *Plan) { p.ResolveOrder = OrderFirst }, "resolve: all addresses are IP addresses"},
		"an unknown time to resolve":            {func(p *Plan) { p.Addresses, p.Resolve = []record.Address{{HostPort: "a:1"}}, "daily" }, `resolve: "daily": want one of perRun, perConnection`},
		"gRPC round robin over one address":     {func(p *Plan) { p.Protocol, p.GRPCPolicy = ProtocolGRPC, GRPCRoundRobin }, "round_robin needs a name or several addresses"},
		"attribution by nothing":                {func(p *Plan) { p.Attribution = &Attribution{} }, "attribution: want header or json, one of them"},
		"attribution by both":                   {func(p *Plan) { p.Attribution = &Attribution{Header: "a", JSON: "b"} }, "attribution: want header or json, one of them"},
		"a header that cannot be":               {func(p *Plan) { p.Attribution = &Attribution{Header: "a b"} }, `attribution: header "a b"`},
		"a path with a gap":                     {func(p *Plan) { p.Attribution = &Attribution{JSON: "a..b"} }, `attribution: json "a..b"`},
		"attribution without answers":           {func(p *Plan) { p.Protocol, p.Attribution = ProtocolTCP, &Attribution{Header: "a"} }, "attribution: tcp has none"},
		"a negative cap on tuples":              {func(p *Plan) { p.MaxTuples = -1 }, "maxTuples: -1: want 0 to"},
		"more streams than anybody lets happen": {func(p *Plan) { p.Protocol, p.StreamsPerConnection = ProtocolHTTP2, 1001 }, "streamsPerConnection: 1001: want 0 to 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			err := planOf(tc.with).Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
