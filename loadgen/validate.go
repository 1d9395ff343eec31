package loadgen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podskew/podskew/record"
)

// DefaultSampleCap is how many samples a plan keeps if it does not say.
const DefaultSampleCap = 10_000

// Bounds of what a plan may ask for, far beyond what makes sense, so that a mistake ends in a sentence.
const (
	maxConnections = 100_000
	maxRequests    = 1_000_000_000
	minRate        = 1e-3 // requests per second
	maxDuration    = 24 * time.Hour
	maxWarmUp      = time.Hour
	maxZipf        = 10
	maxTimeout     = 10 * time.Minute
	maxAddresses   = 10_000
	maxSamples     = 1_000_000
	maxName        = 253 // of a pod, a DNS-1123 subdomain
	maxPath        = 2048
	maxIPs         = 4096
)

// Validate says what is wrong with the plan, all of it, or returns nil. What the protocol or the rest of the plan would
// leave without effect is wrong, too: nothing is ignored.
func (p Plan) Validate() error {
	return errors.Join(slices.Concat(p.checkNames(), p.checkLoad(), p.checkPlan())...)
}

func (p Plan) checkNames() []error {
	var errs []error
	for _, n := range []struct{ field, value string }{{"run", p.Run}, {"stream", p.Stream}, {"agent", p.Agent}} {
		if err := checkName(n.value); err != nil {
			errs = append(errs, fmt.Errorf("plan: %s: %w", n.field, err))
		}
	}
	if p.Start.IsZero() {
		errs = append(errs, errors.New("plan: start is missing"))
	}
	if n := len(p.Addresses); n == 0 || n > maxAddresses {
		errs = append(errs, fmt.Errorf("plan: %d addresses: want 1 to %d", n, maxAddresses))
	}
	for _, a := range p.Addresses {
		if err := checkHostPort(a.HostPort); err != nil {
			errs = append(errs, fmt.Errorf("plan: address %q: %w", a.HostPort, err))
		}
	}
	if len(p.Path) > maxPath || !strings.HasPrefix(p.Path, "/") || !visible(p.Path) {
		errs = append(errs, fmt.Errorf("plan: path %q: want / and up to %d characters without blanks", p.Path, maxPath))
	}
	if len(p.Host) > maxName+len(":65535") || !visible(p.Host) {
		errs = append(errs, fmt.Errorf("plan: host %q: want a name without blanks", p.Host))
	}
	return errs
}

func (p Plan) checkLoad() []error {
	var errs []error
	between := func(field string, got, low, high int) {
		if got < low || got > high {
			errs = append(errs, fmt.Errorf("plan: %s: %d: want %d to %d", field, got, low, high))
		}
	}
	between("connections", p.Connections, 1, maxConnections)
	between("requestsPerConnection", p.RequestsPerConnection, 0, maxRequests)
	between("requests", p.Requests, 0, maxRequests)
	between("sampleCap", p.SampleCap, 0, maxSamples)
	between("addressOffset", p.AddressOffset, 0, maxRequests)
	if p.Duration < 0 || p.Duration > maxDuration {
		errs = append(errs, fmt.Errorf("plan: duration: %s: want up to %s", p.Duration, maxDuration))
	}
	if (p.Requests == 0) == (p.Duration == 0) {
		errs = append(errs, errors.New("plan: want requests or duration, one of them"))
	}
	if p.WarmUp < 0 || p.WarmUp > maxWarmUp {
		errs = append(errs, fmt.Errorf("plan: warmUp: %s: want up to %s", p.WarmUp, maxWarmUp))
	}
	if err := p.checkZipf(); err != nil {
		errs = append(errs, fmt.Errorf("plan: zipfExponent: %w", err))
	}
	if p.MaxRate != 0 && !(p.MaxRate >= minRate && p.MaxRate <= maxRequests) { // NaN is neither
		errs = append(errs, fmt.Errorf("plan: maxRate: %g: want %g to %d, or 0", p.MaxRate, minRate, maxRequests))
	}
	for _, t := range []struct {
		field string
		value time.Duration
	}{{"connectTimeout", p.ConnectTimeout}, {"timeout", p.Timeout}} {
		if t.value <= 0 || t.value > maxTimeout {
			errs = append(errs, fmt.Errorf("plan: %s: %s: want more than 0 and up to %s", t.field, t.value, maxTimeout))
		}
	}
	return errs
}

func (p Plan) checkZipf() error {
	switch s := p.ZipfExponent; {
	case s == 0:
		return nil
	case !(s > 0 && s <= maxZipf): // NaN is neither
		return fmt.Errorf("%g: want more than 0 and up to %d", s, maxZipf)
	case p.Requests == 0:
		return errors.New("it is about how requests are dealt: want requests")
	case p.pooled():
		return errors.New("requests are not dealt to connections beforehand: want neither rate nor poolPolicy")
	}
	return nil
}

func (p Plan) sampleCap() int {
	if p.SampleCap == 0 {
		return DefaultSampleCap
	}
	return p.SampleCap
}

func checkName(s string) error {
	if s == "" || len(s) > maxName || !visible(s) {
		return fmt.Errorf("%q: want 1 to %d characters without blanks", s, maxName)
	}
	return nil
}

// visible reports whether s has only printable ASCII characters without blanks: it may stand in a request line.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("want host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return checkName(host)
}

// canonical is the one way to write an address, so that two spellings of it compare equal.
func canonical(hostPort string) string {
	if ap, err := netip.ParseAddrPort(hostPort); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	}
	return strings.ToLower(hostPort)
}

func knownKind(k record.ErrorKind) bool {
	switch k {
	case record.ErrRefused, record.ErrTimeout, record.ErrReset, record.ErrStatus, record.ErrDNS, record.ErrParse, record.ErrOther:
		return true
	}
	return false
}
