package echo

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// face is the identity as replies show it, rendered once. It is replaced as a whole when the zone label changes.
type face struct {
	identity        Identity
	pod, node, zone []string // header values; zone is nil when there is none
	start           []byte   // of the JSON, up to and including "client":
	end             []byte   // of the JSON, from ,"unknown": on
}

// newFace renders id.
func newFace(id Identity) *face {
	f := &face{identity: id, pod: []string{id.Pod}, node: []string{id.Node}}
	if id.Zone != "" {
		f.zone = []string{id.Zone}
	}
	b := append([]byte(nil), '{')
	for i, field := range []struct{ name, value string }{
		{"pod", id.Pod},
		{"namespace", id.Namespace},
		{"podIP", id.PodIP},
		{"podUID", id.PodUID},
		{"node", id.Node},
		{"hostIP", id.HostIP},
		{"zone", id.Zone},
		{"serviceAccount", id.ServiceAccount},
	} {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(b, field.name, field.value)
	}
	b = append(b, `,"resources":{"limits":`...)
	b = appendAmounts(b, id.Resources.Limits)
	b = append(b, `,"requests":`...)
	b = appendAmounts(b, id.Resources.Requests)
	f.start = append(b, `},"client":`...)
	f.end = append(appendStrings([]byte(`,"unknown":`), id.Unknown), "}\n"...)
	return f
}

// connectionText is the part of a reply that is the same for all requests of a connection.
type connectionText struct {
	face   *face
	start  []byte // up to and including "forwardedFor":
	middle []byte // from ,"proxyProtocol": up to and including "request":
}

// asked is what a reply repeats of its request. Protocols other than HTTP have the protocol's name only.
type asked struct {
	forwardedFor, traceparent    []string // values of the headers
	protocol, host, method, path string
}

// askedOf returns what a reply repeats of r.
func askedOf(r *http.Request) asked {
	return asked{
		forwardedFor: r.Header["X-Forwarded-For"], traceparent: r.Header["Traceparent"],
		protocol: r.Proto, host: r.Host, method: r.Method, path: r.URL.Path,
	}
}

// textOf returns the rendered part of replies on c under f. Requests on one HTTP/2 connection may race to make it, which
// costs the loser nothing but time.
func (c *connection) textOf(f *face) *connectionText {
	if text := c.text.Load(); text != nil && text.face == f {
		return text
	}
	text := c.render(f)
	c.text.Store(text)
	return text
}

// render makes it.
func (c *connection) render(f *face) *connectionText {
	client := c.address()
	text := &connectionText{face: f}
	b := append([]byte(nil), f.start...)
	b = append(b, '{')
	b = appendMember(b, "address", client.Address)
	b = append(b, `,"port":`...)
	b = strconv.AppendUint(b, uint64(client.Port), 10)
	text.start = append(b, `},"forwardedFor":`...)
	b = append([]byte(nil), ',')
	b = appendMember(b, "proxyProtocol", c.proxied)
	b = append(b, `,"tls":`...)
	b = strconv.AppendBool(b, c.tls)
	b = append(b, `,"connection":`...)
	b = strconv.AppendUint(b, c.number, 10)
	text.middle = append(b, `,"request":`...)
	return text
}

// appendReply appends the JSON of the reply to one request, and a newline. It is what encoding/json makes of a [Reply]
// (a test holds it to that), at a tenth of the price.
func (text *connectionText) appendReply(b []byte, a asked, request uint64, id string) []byte {
	b = append(b, text.start...)
	b = appendStrings(b, forwardedFor(a.forwardedFor))
	b = append(b, text.middle...)
	b = strconv.AppendUint(b, request, 10)
	b = append(b, ',')
	b = appendMember(b, "requestID", id)
	b = append(b, ',')
	b = appendMember(b, "traceparent", traceparent(a.traceparent))
	b = append(b, ',')
	b = appendMember(b, "protocol", a.protocol)
	b = append(b, ',')
	b = appendMember(b, "host", a.host)
	b = append(b, ',')
	b = appendMember(b, "method", a.method)
	b = append(b, ',')
	b = appendMember(b, "path", a.path)
	return append(b, text.face.end...)
}

// reply is what appendReply renders, for whoever wants it as a value.
func (c *connection) reply(f *face, a asked, request uint64, id string) Reply {
	return Reply{
		Pod: f.identity.Pod, Namespace: f.identity.Namespace, PodIP: f.identity.PodIP, PodUID: f.identity.PodUID,
		Node: f.identity.Node, HostIP: f.identity.HostIP, Zone: f.identity.Zone, ServiceAccount: f.identity.ServiceAccount,
		Resources: f.identity.Resources, Client: c.address(),
		ForwardedFor:  append([]string{}, forwardedFor(a.forwardedFor)...),
		ProxyProtocol: c.proxied, TLS: c.tls, Connection: c.number, Request: request, RequestID: id,
		Traceparent: traceparent(a.traceparent), Protocol: a.protocol, Host: a.host, Method: a.method, Path: a.path,
		Unknown: append([]string{}, f.identity.Unknown...),
	}
}

// forwardedFor splits X-Forwarded-For headers into their addresses.
func forwardedFor(values []string) []string {
	var all []string
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

// traceparent returns the one W3C trace context header if it is well-formed, else "". Versions to come may append to it.
func traceparent(values []string) string {
	if len(values) != 1 {
		return ""
	}
	value := values[0]
	const length = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	switch {
	case len(value) < length, len(value) > 512, value[2] != '-', value[35] != '-', value[52] != '-':
		return ""
	case !lowerHex(value[:2]), !lowerHex(value[3:35]), !lowerHex(value[36:52]), !lowerHex(value[53:length]):
		return ""
	case value[:2] == "ff", strings.Trim(value[3:35], "0") == "", strings.Trim(value[36:52], "0") == "":
		return ""
	case len(value) > length && (value[:2] == "00" || value[length] != '-'):
		return ""
	}
	return value
}

func lowerHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// appendAmounts appends the JSON of a.
func appendAmounts(b []byte, a Amounts) []byte {
	b = appendMember(append(b, '{'), "cpu", a.CPU)
	b = appendMember(append(b, ','), "memory", a.Memory)
	return append(b, '}')
}

// appendMember appends "name":"value"; name needs no escaping.
func appendMember(b []byte, name, value string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	return appendString(b, value)
}

// appendStrings appends an array of strings, [] for none.
func appendStrings(b []byte, values []string) []byte {
	b = append(b, '[')
	for i, value := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, value)
	}
	return append(b, ']')
}

// appendString appends s as encoding/json would. Plain ASCII, which is nearly all there is, is copied.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				quoted = []byte(`""`) // strings always marshal
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
