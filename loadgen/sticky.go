package loadgen

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/record"
)

// Values of a session's header (record.StreamSession).
const (
	sessionOwn     = "session"
	sessionPodIP   = "podIP"
	sessionPodName = "podName"
)

// Bounds on what a client remembers of answers.
const (
	maxCookies = 16
	maxCookie  = 4 << 10 // bytes of a name and a value
	maxTold    = 256     // bytes of an address, or of a list of them
)

// details are what a reply says of the way that its request took, and what it asks the client to remember.
type details struct {
	podIP, forwarded, proxied []byte
	cookies                   []string // name=value
}

func (m *details) reset() {
	m.podIP, m.forwarded, m.proxied, m.cookies = m.podIP[:0], m.forwarded[:0], m.proxied[:0], m.cookies[:0]
}

// read takes one header field.
func (m *details) read(name, value []byte) {
	keep := func(dst, value []byte) []byte { return append(dst[:0], value[:min(len(value), maxTold)]...) }
	switch {
	case is(name, echo.HeaderPodIP):
		m.podIP = keep(m.podIP, value)
	case is(name, echo.HeaderForwarded):
		m.forwarded = keep(m.forwarded, value)
	case is(name, echo.HeaderProxied):
		m.proxied = keep(m.proxied, value)
	case is(name, "Set-Cookie") && len(m.cookies) < maxCookies:
		pair, attributes, _ := bytes.Cut(value, []byte(";"))
		if at := bytes.IndexByte(pair, '='); at > 0 && len(pair) <= maxCookie {
			if expires(attributes) {
				pair = pair[:at+1]
			}
			m.cookies = append(m.cookies, string(trim(pair)))
		}
	}
}

// expires reports whether a cookie's attributes say that it is to be forgotten.
func expires(attributes []byte) bool {
	for attribute := range bytes.SplitSeq(attributes, []byte(";")) {
		name, value, _ := bytes.Cut(trim(attribute), []byte("="))
		if seconds, err := strconv.Atoi(string(trim(value))); is(trim(name), "Max-Age") && err == nil && seconds <= 0 {
			return true
		}
	}
	return false
}

// newParser returns the parser for the plan's replies.
func (r *run) newParser() parser {
	p := newParser(r.plan.Attribution)
	if r.plan.detailed() {
		p.more = &details{}
	}
	return p
}

// detailed reports whether pods are asked to say more of the way that requests took.
func (p *Plan) detailed() bool { return p.Detail || p.Session != nil }

// sticky is what makes the requests of one slot belong together, on whichever of its connections they are.
type sticky struct {
	session *record.StreamSession
	key     string // that the header will say; "": the first answer tells
	sent    string // that the last request's header said; "": it had none
	cookies []string

	made map[int]*[2][]byte // by target: the request, and the one that ends a connection; nil: made anew
}

// newSticky returns the session of a slot; nil: the plan has none.
func (r *run) newSticky(slot int) *sticky {
	if r.plan.Session == nil {
		return nil
	}
	s := &sticky{session: r.plan.Session}
	if s.session.Header != "" && (s.session.Value == "" || s.session.Value == sessionOwn) {
		s.key = fmt.Sprintf("%s-%d", r.plan.Agent, slot)
	}
	return s
}

// request is what goes to a target now.
func (s *sticky) request(r *run, at int, last bool) []byte {
	if s.made == nil {
		s.made = map[int]*[2][]byte{}
	}
	made := s.made[at]
	if made == nil {
		keep, last := r.requestTo(r.targets[at])
		made = &[2][]byte{s.added(keep), s.added(last)}
		s.made[at] = made
	}
	if s.session.Header != "" {
		s.sent = s.key
	}
	if last {
		return made[1]
	}
	return made[0]
}

// added puts the session's header into a request.
func (s *sticky) added(request []byte) []byte {
	line := ""
	switch {
	case s.session.Header != "" && s.key != "":
		line = s.session.Header + ": " + s.key + "\r\n"
	case len(s.cookies) > 0:
		line = "Cookie: " + strings.Join(s.cookies, "; ") + "\r\n"
	}
	end := len(request) - len("\r\n")
	return slices.Concat(request[:end], []byte(line), request[end:])
}

// learn takes what an answer tells.
func (s *sticky) learn(p *parser) {
	switch {
	case p.more == nil:
	case s.session.Cookie:
		for _, pair := range p.more.cookies {
			s.remember(pair)
		}
	case s.key != "" || p.status >= 400: // it is known already, or the answer may be a proxy's own
	case s.session.Value == sessionPodIP && len(p.more.podIP) > 0:
		s.key, s.made = string(p.more.podIP), nil
	case s.session.Value == sessionPodName && len(p.pod) > 0:
		s.key, s.made = string(p.pod), nil
	}
}

// remember takes a cookie, name=value; without a value it is forgotten.
func (s *sticky) remember(pair string) {
	name, value, _ := strings.Cut(pair, "=")
	at := slices.IndexFunc(s.cookies, func(have string) bool { return strings.HasPrefix(have, name+"=") })
	switch {
	case at >= 0 && s.cookies[at] == pair:
		return
	case at >= 0 && value == "":
		s.cookies = slices.Delete(s.cookies, at, at+1)
	case at >= 0:
		s.cookies[at] = pair
	case value != "" && len(s.cookies) < maxCookies:
		s.cookies = append(s.cookies, pair)
	default:
		return
	}
	s.made = nil
}

// checkSession refuses what no header can say.
func (p *Plan) checkSession() error {
	s := p.Session
	switch {
	case s == nil:
	case p.Protocol != ProtocolHTTP1:
		return fmt.Errorf("session: protocol %s keeps none", p.Protocol)
	case (s.Header == "") != s.Cookie:
		return fmt.Errorf("session: want a header or cookies, and not both")
	case s.Header != "" && !isHeaderName(s.Header):
		return fmt.Errorf("session: header %q: want the name of a header, up to %d characters", s.Header, maxAttribution)
	case !slices.Contains([]string{"", sessionOwn, sessionPodIP, sessionPodName}, s.Value):
		return fmt.Errorf("session: value %q: want session, podIP or podName", s.Value)
	}
	return nil
}

func isHeaderName(name string) bool {
	return name != "" && len(name) <= maxAttribution && !strings.ContainsFunc(name, func(c rune) bool { return c >= 128 || !isToken(byte(c)) })
}
