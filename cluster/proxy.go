package cluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
)

// What Proxy.Mode may be besides a kube-proxy mode.
const (
	modeUnknown = "unknown"
	modeNone    = "none"
	modeMixed   = "mixed"
)

const (
	proxyPort    = 10249           // kube-proxy's metricsBindAddress
	proxyTimeout = 2 * time.Second // per node: what does not answer is unknown, and nothing waits for it
)

// readProxies asks every node's kube-proxy for its mode and its sync state. Where that is not reachable, as in most
// clusters, whose kube-proxies listen on the loopback only, the mode comes from their ConfigMap.
func (c *Cluster) readProxies(ctx context.Context, nodes []node, zero time.Time) map[string]record.Proxy {
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		out = map[string]record.Proxy{}
	)
	config := sync.OnceValue(func() proxyConfig { return c.readProxyConfig(ctx) })
	for _, n := range nodes {
		wg.Go(func() {
			p, err := c.askProxy(ctx, n.name, zero)
			if err != nil {
				p = config().of(n)
			}
			switch {
			case p.Mode == modeUnknown && apierrors.IsForbidden(err):
				c.notes.add("the kube-proxy mode is unknown: the kubeconfig's user may not ask the kube-proxies (get nodes/proxy), and their configuration does not tell")
			case p.Mode == modeUnknown:
				c.notes.add(fmt.Sprintf("the kube-proxy mode of node %s is unknown: %v", n.name, err))
			}
			mu.Lock()
			defer mu.Unlock()
			out[n.name] = p
		})
	}
	wg.Wait()
	return out
}

func (c *Cluster) askProxy(ctx context.Context, node string, zero time.Time) (record.Proxy, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
	defer cancel()
	base := fmt.Sprintf("/api/v1/nodes/%s:%d/proxy/", url.PathEscape(node), proxyPort)
	body, err := c.get(ctx, base+"proxyMode")
	if err != nil {
		return record.Proxy{}, err
	}
	mode, ok := proxyMode(string(body))
	if !ok {
		return record.Proxy{}, fmt.Errorf("its proxyMode endpoint says %.40q", body)
	}
	p := record.Proxy{Mode: mode, Source: "proxyMode endpoint"}
	metrics, err := c.get(ctx, base+"metrics")
	if err != nil {
		c.notes.add(fmt.Sprintf("the sync state of the kube-proxy of node %s is unknown: %v", node, err))
		return p, nil
	}
	last, queued := syncTimes(metrics)
	p.LastSync, p.LastQueued = sinceZero(last, zero), sinceZero(queued, zero)
	return p, nil
}

func proxyMode(s string) (string, bool) {
	switch s = strings.TrimSpace(s); s {
	case "iptables", "nftables", "ipvs":
		return s, true
	}
	return modeUnknown, false
}

// sinceZero turns a Unix time into an instant of the record; 0 stays unknown.
func sinceZero(unix float64, zero time.Time) float64 {
	if unix <= 0 {
		return 0
	}
	return unix - float64(zero.UnixNano())/1e9
}

// syncTimes finds when rules were last programmed and when that was last asked for in a kube-proxy's metrics, as Unix
// seconds; the latest where there is one per IP family, 0 where there is none.
func syncTimes(metrics []byte) (last, queued float64) {
	const prefix = "kubeproxy_sync_proxy_rules_last_"
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), prefix)
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(rest, " ")
		if i := strings.IndexByte(name, '{'); i >= 0 {
			name = name[:i]
		}
		value, _, _ = strings.Cut(value, " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v > 0 && v < 1e12) { // no NaN, no infinity
			continue
		}
		switch name {
		case "timestamp_seconds":
			last = max(last, v)
		case "queued_timestamp_seconds":
			queued = max(queued, v)
		}
	}
	return last, queued
}

// proxyConfig is what the API server's objects say about kube-proxies.
type proxyConfig struct {
	mode    string          // "" if there is no ConfigMap
	pods    map[string]bool // nodes with a kube-proxy pod
	podsErr error
}

func (c *Cluster) readProxyConfig(ctx context.Context) proxyConfig {
	ctx, cancel := context.WithTimeout(ctx, 2*proxyTimeout)
	defer cancel()
	var out proxyConfig
	core := c.client.CoreV1()
	if cm, err := core.ConfigMaps(metav1.NamespaceSystem).Get(ctx, "kube-proxy", metav1.GetOptions{}); err == nil {
		out.mode = configuredMode(cm.Data)
	}
	list, err := core.Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-proxy"})
	if err != nil {
		out.podsErr = err
		return out
	}
	out.pods = map[string]bool{}
	for i := range list.Items {
		out.pods[list.Items[i].Spec.NodeName] = true
	}
	return out
}

// of is the best guess for a node whose kube-proxy does not answer.
func (p proxyConfig) of(n node) record.Proxy {
	switch {
	case p.pods[n.name] && p.mode != "", p.podsErr != nil && p.mode != "" && !n.external:
		return record.Proxy{Mode: p.mode, Source: "configmap kube-proxy"}
	case n.external && !p.pods[n.name]:
		return record.Proxy{Mode: modeNone, Source: "no kube-proxy answers"}
	}
	return record.Proxy{Mode: modeUnknown}
}

// configuredMode finds the mode in a kube-proxy ConfigMap, whose keys differ from installer to installer. A
// configuration without a mode means iptables on Linux.
func configuredMode(data map[string]string) string {
	for _, text := range data {
		if !strings.Contains(text, "KubeProxyConfiguration") {
			continue
		}
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, "mode:"); ok {
				value, _, _ = strings.Cut(value, "#")
				if value = strings.Trim(strings.TrimSpace(value), `"'`); value != "" {
					mode, _ := proxyMode(value)
					return mode
				}
			}
		}
		return "iptables"
	}
	return ""
}

// overall is the mode of the whole cluster: of the nodes whose mode is known.
func overall(nodes []record.Node) string {
	out := modeUnknown
	for _, n := range nodes {
		switch m := n.Proxy.Mode; {
		case m == modeUnknown, m == modeNone, m == out:
		case out == modeUnknown:
			out = m
		default:
			return modeMixed
		}
	}
	return out
}
