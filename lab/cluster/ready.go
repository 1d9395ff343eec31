package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pollEvery is the pause between two looks at something that is expected to change soon.
const pollEvery = 50 * time.Millisecond

// lookTimeout bounds one look.
const lookTimeout = 2 * time.Second

// await looks until nothing is missing. There is no deadline here: the launcher has the only one, for all of it.
func (s *supervisor) await(ctx context.Context, what string, look func(context.Context) error) error {
	told := ""
	for {
		once, cancel := context.WithTimeout(ctx, lookTimeout)
		missing := look(once)
		cancel()
		if missing == nil {
			s.log.Info("there: " + what)
			return nil
		}
		if now := what + ": " + missing.Error(); now != told {
			s.events.send(Event{Kind: EventWaiting, Text: now})
			told = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, missing)
		case <-time.After(pollEvery):
		}
	}
}

func etcdListens(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", etcdAddress)
	if err != nil {
		return err
	}
	return conn.Close()
}

// apiServerAnswers looks whether requests are authorised and the objects that every cluster has can be created; the
// API server's own readiness comes later, after hooks that nothing here depends on.
func (s *supervisor) apiServerAnswers(ctx context.Context) error {
	_, err := s.client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	return err
}

// awaitReady waits for everything that a caller may rely on at once.
func (s *supervisor) awaitReady(ctx context.Context) error {
	looks := []struct {
		what string
		look func(context.Context) error
	}{
		{"the nodes", s.nodesReady},
		{"kube-proxy", s.proxiesReady},
		{"the zones", func(ctx context.Context) error { return s.tellZones(ctx, s.nodes...) }},
		{"the cluster DNS", dnsAnswers},
		{"the default service account", s.accountReady},
		{"the API server's readiness", s.apiServerReady},
	}
	for _, l := range looks {
		if err := s.await(ctx, l.what, l.look); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) nodesReady(ctx context.Context) error {
	list, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var missing []string
	for _, n := range list.Items {
		ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		// The node controller's taint goes a moment after the node is ready; until then nothing is scheduled there.
		tainted := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
		if !ready || tainted {
			missing = append(missing, n.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not ready: %s", strings.Join(missing, ", "))
	}
	return nil
}

// proxiesReady looks whether each kube-proxy has programmed its node's rules at least once. Its health endpoint would
// not do: it is content before the first time.
func (s *supervisor) proxiesReady(ctx context.Context) error {
	for _, n := range s.nodes {
		if n.External {
			continue
		}
		if err := proxySynced(ctx, n); err != nil {
			return fmt.Errorf("on node %s: %w", n.Name, err)
		}
	}
	return nil
}

// proxySyncMetric is when kube-proxy last programmed its rules, in seconds since 1970; 0 is never.
const proxySyncMetric = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"

func proxySynced(ctx context.Context, n Node) error {
	url := "http://" + net.JoinHostPort(n.Address.String(), "10249") + "/metrics"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), proxySyncMetric) && !zeroSample(lines.Text()) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the rules have not been programmed yet")
}

// zeroSample reports whether a line of metrics ends in the value 0.
func zeroSample(line string) bool {
	value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
	return err != nil || value == 0
}

func dnsAnswers(ctx context.Context) error {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, controlPlaneIP+":53")
	}}
	_, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+clusterDomain+".")
	return err
}

// accountReady looks for what every pod of the default namespace needs: without the account it is refused, without
// the certificates it waits.
func (s *supervisor) accountReady(ctx context.Context) error {
	core := s.client.CoreV1()
	if _, err := core.ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return err
	}
	_, err := core.ConfigMaps(metav1.NamespaceDefault).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	return err
}

// rolesThere looks whether the API server has created the roles that it gives the components.
func (s *supervisor) rolesThere(ctx context.Context) error {
	return s.client.CoreV1().RESTClient().Get().AbsPath("/readyz/poststarthook/rbac/bootstrap-roles").Do(ctx).Error()
}

func (s *supervisor) apiServerReady(ctx context.Context) error {
	return s.client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}
