package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/scenarios"
)

// proxySetups are gateways of every kind, by a name for the test.
func proxySetups() map[string]proxySetup {
	pods := []netip.Addr{netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.2.2")}
	out := map[string]proxySetup{}
	for _, proxy := range []string{scenarios.ProxyCaddy, scenarios.ProxyHAProxy, scenarios.ProxyNginx} {
		for _, keep := range []int{0, 8} {
			out[fmt.Sprintf("%s to the Service with %d idle connections", proxy, keep)] = proxySetup{
				Gateway: scenarios.Gateway{Proxy: proxy, Upstream: scenarios.UpstreamService, KeepAlive: keep, SendProxyProtocol: keep == 0 && proxy != scenarios.ProxyNginx},
				service: "10.96.0.7:80", canary: "10.96.0.8:80", most: 6,
			}
		}
		for _, policy := range []string{
			scenarios.PolicyRoundRobin, scenarios.PolicyRandom, scenarios.PolicyLeastConnections, scenarios.PolicySourceHash,
			scenarios.PolicyHeaderHash, scenarios.PolicyCookie,
		} {
			g := scenarios.Gateway{Proxy: proxy, Upstream: scenarios.UpstreamPods, Policy: policy, KeepAlive: 4}
			if policy == scenarios.PolicyHeaderHash {
				g.Header = "X-Execution-Pod"
			}
			out[proxy+" to pods, "+policy] = proxySetup{Gateway: g, name: "localhost", pods: pods, canary: "10.96.0.8:80", most: 6}
		}
		out[proxy+" over IPv6"] = proxySetup{
			Gateway: scenarios.Gateway{Proxy: proxy, Upstream: scenarios.UpstreamPods, Policy: scenarios.PolicyRoundRobin},
			name:    "localhost", pods: []netip.Addr{netip.MustParseAddr("fd00::2")}, canary: "[fd00::8]:80", most: 2, ipv6: true,
		}
	}
	return out
}

// checkCommand is a proxy's own check of a configuration.
func checkCommand(proxy, file string) []string {
	switch proxy {
	case scenarios.ProxyHAProxy:
		return []string{"haproxy", "-c", "-f", file}
	case scenarios.ProxyNginx:
		return []string{"nginx", "-t", "-q", "-e", "stderr", "-c", file}
	}
	return []string{"caddy", "validate", "--adapter", "caddyfile", "--config", file}
}

// findBinary looks for a proxy where the lab does.
func findBinary(name string) string {
	beside, _ := filepath.Abs("../bin/" + name)
	for _, path := range []string{beside, name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

func TestProxiesAcceptTheirConfigurations(t *testing.T) {
	for name, setup := range proxySetups() {
		t.Run(name, func(t *testing.T) {
			if setup.Proxy == scenarios.ProxyNginx && setup.Policy == scenarios.PolicyCookie {
				t.Skip("validation refuses it: open source nginx has no such policy")
			}
			t.Parallel()
			file, content, err := setup.config()
			if err != nil {
				t.Fatal(err)
			}
			args := checkCommand(setup.Proxy, filepath.Join(t.TempDir(), file))
			binary := findBinary(args[0])
			if binary == "" {
				t.Skipf("%s is not installed", args[0])
			}
			if err := os.WriteFile(args[len(args)-1], []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), binary, args[1:]...)
			cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(strings.ToLower(string(out)), "[warning]") || strings.Contains(string(out), "[warn]") {
				t.Errorf("%v: %s\n%s", err, out, content)
			}
		})
	}
}

func TestConfigurationsSayWhatTheScenarioSays(t *testing.T) {
	for name, want := range map[string][]string{
		"nginx to the Service with 8 idle connections":   {"server 10.96.0.7:80 max_fails=0;", "keepalive 8;", `proxy_set_header Connection "";`},
		"nginx to the Service with 0 idle connections":   {"proxy_set_header Connection close;"},
		"nginx to pods, headerHash":                      {"hash $http_x_execution_pod consistent;", "server 10.244.1.2:8080;"},
		"haproxy to the Service with 0 idle connections": {"option http-server-close", "server service 10.96.0.7:80 send-proxy"},
		"haproxy to pods, cookie":                        {"cookie PODSKEW insert indirect nocache dynamic", "server-template pod 6 localhost:8080"},
		"haproxy to pods, headerHash":                    {"balance hdr(X-Execution-Pod)"},
		"caddy to pods, roundRobin":                      {"lb_policy round_robin", "keepalive_idle_conns_per_host 4"},
		"caddy to pods, cookie":                          {"lb_policy cookie podskew"},
		"caddy to the Service with 0 idle connections":   {"to 10.96.0.7:80", "keepalive off", "proxy_protocol v1"},
	} {
		_, content, err := proxySetups()[name].config()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if missing := slices.DeleteFunc(want, func(part string) bool { return strings.Contains(content, part) }); len(missing) > 0 {
			t.Errorf("%s lacks %q:\n%s", name, missing, content)
		}
	}
}
