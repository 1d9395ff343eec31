package main

import (
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// defaultLoad is how long a load lasts that nobody gave a length.
const defaultLoad = 10 * time.Second

// scheme is what a URL's scheme says of the load.
type scheme struct {
	protocol, port string
	tls            bool
}

func schemes() map[string]scheme {
	return map[string]scheme{
		"http": {loadgen.ProtocolHTTP1, "80", false}, "https": {loadgen.ProtocolHTTP1, "443", true},
		"ws": {loadgen.ProtocolWebSocket, "80", false}, "wss": {loadgen.ProtocolWebSocket, "443", true},
		"grpc": {loadgen.ProtocolGRPC, "80", false}, "grpcs": {loadgen.ProtocolGRPC, "443", true},
		"tcp": {loadgen.ProtocolTCP, "", false}, "udp": {loadgen.ProtocolUDP, "", false},
	}
}

// complete makes a plan of the flags and the URL.
func (o *loadOptions) complete(arg string) error {
	if !strings.Contains(arg, "://") {
		arg = "http://" + arg
	}
	u, err := url.Parse(arg)
	if err != nil {
		return usageError("%w", err)
	}
	s, known := schemes()[u.Scheme]
	switch {
	case !known:
		return usageError("%s: scheme %q: write http, https, ws, wss, grpc, grpcs, tcp or udp", arg, u.Scheme)
	case u.Hostname() == "":
		return usageError("%s: it names no host", arg)
	case u.User != nil:
		return usageError("%s: user and password in a URL are not sent", u.Redacted())
	case u.Port() == "" && s.port == "":
		return usageError("%s: a port is missing", arg)
	case o.backends < 0:
		return usageError("--backends %d: at least 1", o.backends)
	case o.unit != "" && o.unit != string(record.UnitConnection) && o.unit != string(record.UnitRequest):
		return usageError("--unit %q: write connection or request", o.unit)
	}
	p := &o.plan
	p.Stream, p.Agent, p.Seed, p.TLS, p.Protocol, p.Path = loadStream, loadAgent, o.seed, s.tls, s.protocol, u.RequestURI()
	if o.protocol != "" {
		p.Protocol = o.protocol
	}
	port := u.Port()
	if port == "" {
		port = s.port
	}
	p.Addresses = []record.Address{{HostPort: net.JoinHostPort(u.Hostname(), port)}}
	p.Host = u.Host
	if p.Path == "" || !strings.HasPrefix(p.Path, "/") {
		p.Path = "/"
	}
	return o.completePlan()
}

// completePlan fills in what the flags left open, and checks the plan.
func (o *loadOptions) completePlan() error {
	p := &o.plan
	if p.Requests == 0 && p.Duration == 0 {
		p.Duration = defaultLoad
	}
	if p.Concurrency > 0 && p.Concurrency < p.Connections && p.PoolPolicy == "" {
		p.PoolPolicy = loadgen.PoolRoundRobin
	}
	if o.header != "" || o.json != "" {
		p.Attribution = &loadgen.Attribution{Header: o.header, JSON: o.json}
	}
	steps, err := rateSteps(o.rates)
	if err != nil {
		return err
	}
	p.Rates = steps
	check := *p
	check.Run, check.Start = "run", time.Now()
	if err := check.Validate(); err != nil {
		return usageError("%s", inFlags(err))
	}
	return nil
}

// rateSteps reads the changes of a rate: 5s:200, or 10s:500:ramp.
func rateSteps(texts []string) ([]record.RateStep, error) {
	var steps []record.RateStep
	for _, text := range texts {
		at, rest, _ := strings.Cut(text, ":")
		rate, how, more := strings.Cut(rest, ":")
		when, err1 := time.ParseDuration(at)
		perSecond, err2 := strconv.ParseFloat(rate, 64)
		if err1 != nil || err2 != nil || more && how != "ramp" {
			return nil, usageError("--rates %q: write when and how many requests per second, such as 5s:200, or 10s:500:ramp", text)
		}
		steps = append(steps, record.RateStep{At: when.Seconds(), Rate: perSecond, Ramp: more})
	}
	return steps, nil
}

// planField is how loadgen's errors name a field of a plan.
var planField = regexp.MustCompile(`(?m)^plan: (?:([a-zA-Z]+)(?:\[\d+\])?: )?`)

// inFlags puts what is wrong with a plan into the words of the command line.
func inFlags(err error) string {
	flags := map[string]string{
		"attribution": "--backend-header, --backend-json", "sources": "--source", "resolve": "--resolve, --resolve-order",
	}
	text := planField.ReplaceAllStringFunc(err.Error(), func(match string) string {
		field := planField.FindStringSubmatch(match)[1]
		switch flag, other := flags[field]; {
		case field == "":
			return ""
		case other:
			return flag + ": "
		}
		return "--" + kebab(field) + ": "
	})
	return strings.ReplaceAll(text, "\n", "; ")
}

// kebab writes a camelCase word as flags are written.
func kebab(word string) string {
	var b strings.Builder
	for _, c := range word {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('-')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
