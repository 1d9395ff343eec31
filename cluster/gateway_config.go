package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/podskew/podskew/scenarios"
)

// proxySetup is what a proxy's configuration is made of.
type proxySetup struct {
	scenarios.Gateway

	service string       // ip:port of the echo Service; "" where the proxy sends to pods
	name    string       // that stands for the echo pods; "" where it sends to the Service
	pods    []netip.Addr // the echo pods as they are when the gateway is started
	most    int          // how many pods there may be during the run
	canary  string       // ip:port of the canary; "": it has no address
	ipv6    bool         // the pods' addresses are
}

// upstreamPort is what echo pods serve HTTP on.
func upstreamPort() string { return strconv.Itoa(int(httpPort().pod)) }

// proxyConfig returns the name and the content of the gateway's configuration file.
func (r *Run) proxyConfig() (file, content string, err error) {
	s := proxySetup{Gateway: *r.d.Scenario.Spec.Gateway, most: mostEchoPods(r.d.Scenario), ipv6: ipv6(r.gateway)}
	if to, err := clusterIPAddress(r.canary, httpPort()); err == nil {
		s.canary = to[0].HostPort
	}
	if balances(&s.Gateway) {
		s.name, s.pods = dnsName(serviceUpstream, r.Namespace()), r.pods
	} else {
		to, err := clusterIPAddress(r.service, httpPort())
		if err != nil {
			return "", "", err
		}
		s.service = to[0].HostPort
	}
	return s.config()
}

func (s proxySetup) config() (file, content string, err error) {
	switch s.Proxy {
	case scenarios.ProxyHAProxy:
		return "haproxy.cfg", s.haproxy(), nil
	case scenarios.ProxyNginx:
		if s.service == "" && len(s.pods) == 0 {
			return "", "", errors.New("nginx learns its pods when it starts, and there are none: write spec.echo.replicas")
		}
		return "nginx.conf", s.nginx(), nil
	case scenarios.ProxyCaddy:
		return "Caddyfile", s.caddy(), nil
	}
	return "", "", fmt.Errorf("no proxy is called %q", s.Proxy)
}

// mostEchoPods is the largest number of echo pods that a scenario leads to, those that end while others begin included.
func mostEchoPods(s *scenarios.Scenario) int {
	most := s.Spec.Echo.Replicas + s.Spec.Echo.Standby
	for _, n := range s.Spec.Echo.Placement {
		most += n
	}
	for _, e := range s.Spec.Events {
		if e.Scale != nil {
			most = max(most, *e.Scale)
		}
	}
	return 2 * most
}

// configText collects the lines of a configuration.
type configText struct{ b strings.Builder }

func (t *configText) line(format string, args ...any) { fmt.Fprintf(&t.b, format+"\n", args...) }

// lineIf adds a line where it applies.
func (t *configText) lineIf(when bool, format string, args ...any) {
	if when {
		t.line(format, args...)
	}
}

// haproxy writes a configuration for HAProxy 2.6 and later. One thread keeps its turns strict; pods are followed by DNS.
func (s proxySetup) haproxy() string {
	var t configText
	bind := ""
	if s.ipv6 {
		bind = "[::]"
	}
	t.line("global\n    fd-hard-limit 20000\n    nbthread 1")
	t.line("defaults\n    mode http\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n    timeout http-keep-alive 1h")
	t.line("    option forwardfor\n    option redispatch\n    retries 2")
	if s.KeepAlive > 0 {
		t.line("    http-reuse always")
	} else {
		t.line("    option http-server-close\n    http-reuse never")
	}
	if s.name != "" {
		t.line("resolvers cluster\n    parse-resolv-conf\n    accepted_payload_size 8192\n    resolve_retries 5")
		t.line("    timeout resolve 500ms\n    timeout retry 500ms\n    hold valid 500ms\n    hold obsolete 1s")
	}
	t.line("frontend web\n    bind %s:%d", bind, gatewayPort().pod)
	t.line("    monitor-uri %s", gatewayProbe)
	t.lineIf(s.name != "", "    monitor fail if { nbsrv(echo) lt %d }", max(len(s.pods), 1))
	t.line("    default_backend echo")
	t.line("backend echo")
	s.haproxyServers(&t)
	if s.canary != "" {
		t.line("frontend canary\n    bind %s:%d\n    default_backend canary", bind, gatewayCanary().pod)
		t.line("backend canary\n    retries 0\n    server canary %s%s", s.canary, s.haproxyProxied())
	}
	return t.b.String()
}

func (s proxySetup) haproxyServers(t *configText) {
	idle := ""
	if s.KeepAlive > 0 {
		// The pool's limit counts idle connections; they are kept for as long as the run may last.
		idle = fmt.Sprintf(" pool-max-conn %d pool-purge-delay 1h", s.KeepAlive)
	}
	if s.service != "" {
		t.line("    server service %s%s%s", s.service, idle, s.haproxyProxied())
		return
	}
	switch s.Policy {
	case scenarios.PolicyLeastConnections:
		t.line("    balance leastconn")
	case scenarios.PolicySourceHash:
		t.line("    balance source\n    hash-type consistent")
	case scenarios.PolicyHeaderHash:
		t.line("    balance hdr(%s)\n    hash-type consistent", s.Header)
	case scenarios.PolicyCookie:
		t.line("    balance roundrobin\n    cookie PODSKEW insert indirect nocache dynamic\n    dynamic-cookie-key podskew") // made of a pod's address
	default:
		t.line("    balance roundrobin")
	}
	family := "ipv4"
	if s.ipv6 {
		family = "ipv6"
	}
	t.line("    server-template pod %d %s:%s resolvers cluster resolve-prefer %s init-addr none%s%s",
		s.most, s.name, upstreamPort(), family, idle, s.haproxyProxied())
}

func (s proxySetup) haproxyProxied() string {
	if s.SendProxyProtocol {
		return " send-proxy"
	}
	return ""
}

// nginx writes a configuration for open source nginx 1.22 and later. One worker keeps its turns strict. Names in it would be
// resolved once, when it starts, and a pod that DNS does not list yet would be missing for good: so it lists the addresses
// of the pods that are ready.
func (s proxySetup) nginx() string {
	var t configText
	t.line("worker_processes 1;\npid /tmp/nginx.pid;\nerror_log stderr warn;\nevents { worker_connections 16384; }\nhttp {")
	t.line("    access_log off;")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		t.line("    %s_temp_path /tmp/%s;", kind, kind)
	}
	t.line("    keepalive_requests 1000000000;\n    keepalive_timeout 1h;")
	s.nginxUpstream(&t)
	listen := "0.0.0.0"
	if s.ipv6 {
		listen = "[::]"
	}
	t.line("    proxy_http_version 1.1;\n    proxy_set_header Host $host;\n    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")
	if s.KeepAlive > 0 {
		t.line(`    proxy_set_header Connection "";`)
	} else {
		t.line("    proxy_set_header Connection close;")
	}
	t.line("    server {\n        listen %s:%d;", listen, gatewayPort().pod)
	t.line("        location = %s { return 200; }\n        location / { proxy_pass http://echo; }\n    }", gatewayProbe)
	if s.canary != "" {
		t.line("    server {\n        listen %s:%d;\n        location / { proxy_pass http://%s; }\n    }", listen, gatewayCanary().pod, s.canary)
	}
	t.line("}")
	return t.b.String()
}

func (s proxySetup) nginxUpstream(t *configText) {
	t.line("    upstream echo {")
	if s.service != "" {
		t.line("        server %s max_fails=0;", s.service)
	} else {
		switch s.Policy {
		case scenarios.PolicyRandom:
			t.line("        random;")
		case scenarios.PolicyLeastConnections:
			t.line("        least_conn;")
		case scenarios.PolicySourceHash:
			t.line("        hash $remote_addr consistent;")
		case scenarios.PolicyHeaderHash:
			t.line("        hash $http_%s consistent;", strings.ReplaceAll(strings.ToLower(s.Header), "-", "_"))
		}
		for _, ip := range s.pods {
			t.line("        server %s;", net.JoinHostPort(ip.String(), upstreamPort()))
		}
	}
	if s.KeepAlive > 0 {
		t.line("        keepalive %d;\n        keepalive_requests 1000000000;\n        keepalive_timeout 1h;\n        keepalive_time 24h;", s.KeepAlive)
	}
	t.line("    }")
}

// caddy writes a Caddyfile for Caddy 2.8 and later. Pods are followed by DNS.
func (s proxySetup) caddy() string {
	var t configText
	t.line("{\n    admin off\n    auto_https off\n    persist_config off\n    log {\n        level WARN\n    }\n}")
	t.line("http://:%d {\n    respond %s 200\n    reverse_proxy {", gatewayPort().pod, gatewayProbe)
	if s.service != "" {
		t.line("        to %s", s.service)
	} else {
		family := "ipv4"
		if s.ipv6 {
			family = "ipv6"
		}
		t.line("        dynamic a {\n            name %s\n            port %s\n            refresh 500ms\n            versions %s\n        }", s.name, upstreamPort(), family)
		t.line("        lb_policy %s", s.caddyPolicy())
	}
	s.caddyTransport(&t, s.KeepAlive)
	t.line("    }\n}")
	if s.canary != "" {
		t.line("http://:%d {\n    reverse_proxy {\n        to %s", gatewayCanary().pod, s.canary)
		s.caddyTransport(&t, 0)
		t.line("    }\n}")
	}
	return t.b.String()
}

func (s proxySetup) caddyPolicy() string {
	switch s.Policy {
	case scenarios.PolicyRandom:
		return "random"
	case scenarios.PolicyLeastConnections:
		return "least_conn"
	case scenarios.PolicySourceHash:
		return "ip_hash"
	case scenarios.PolicyHeaderHash:
		return "header " + s.Header
	case scenarios.PolicyCookie:
		return "cookie podskew podskew"
	}
	return "round_robin"
}

func (s proxySetup) caddyTransport(t *configText, keep int) {
	t.line("        transport http {\n            compression off")
	if keep > 0 {
		t.line("            keepalive 1h\n            keepalive_idle_conns_per_host %d", keep)
	} else {
		t.line("            keepalive off")
	}
	t.lineIf(s.SendProxyProtocol, "            proxy_protocol v1")
	t.line("        }")
}
