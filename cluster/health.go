package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

const (
	healthTimeout    = 2 * time.Second
	balancerSettles  = 15 * time.Second // after the nodes' answers changed; the lab's asks every fifth of a second
	endpointsWeight  = "X-Load-Balancing-Endpoint-Weight"
	mostBalancerText = 64 << 10
)

// readHealthChecks asks every node what it would say to a load balancer of each Service that has a port for it. The
// questions go by the API server; a node that cannot be asked has an error in place of an answer.
func (c *Cluster) readHealthChecks(ctx context.Context, services []record.Service, nodes []record.Node) []record.HealthCheck {
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		out []record.HealthCheck
	)
	for _, s := range services {
		if s.HealthCheckNodePort == 0 {
			continue
		}
		for _, n := range nodes {
			if n.External || n.Proxy.Mode == modeNone {
				continue
			}
			wg.Go(func() {
				h := c.askHealth(ctx, s, n.Name)
				mu.Lock()
				defer mu.Unlock()
				out = append(out, h)
			})
		}
	}
	wg.Wait()
	slices.SortFunc(out, func(a, b record.HealthCheck) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// askHealth asks one node. That it says no is an answer, too, which has to be told from what the API server says where
// it does not reach the node.
func (c *Cluster) askHealth(ctx context.Context, s record.Service, node string) record.HealthCheck {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	h := record.HealthCheck{Service: s.Name, Node: node}
	path := fmt.Sprintf("/api/v1/nodes/%s:%d/proxy/healthz", url.PathEscape(node), s.HealthCheckNodePort)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.base.String(), "/")+path, nil)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	resp, err := c.http.Do(req)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRaw))
	if err != nil {
		h.Error = err.Error()
		return h
	}
	healthAnswer(&h, resp.StatusCode, resp.Header, body)
	return h
}

// healthAnswer reads what came back.
func healthAnswer(h *record.HealthCheck, status int, header http.Header, body []byte) {
	var said struct {
		LocalEndpoints *int `json:"localEndpoints"`
	}
	if json.Unmarshal(body, &said) != nil || said.LocalEndpoints == nil {
		h.Error = fmt.Sprintf("HTTP status %d", status)
		if err := statusError(status, http.MethodGet, body); status >= 400 {
			h.Error = oneLine(err.Error())
		}
		return
	}
	h.Status, h.Endpoints = status, max(0, *said.LocalEndpoints)
	if n, err := strconv.Atoi(header.Get(endpointsWeight)); err == nil {
		h.Weight = max(0, n)
	}
}

// balancerNodes reads what the lab's load balancer says of itself: "worker=1,worker2=3".
func balancerNodes(text string) []record.BalancerNode {
	if text == "" || len(text) > mostBalancerText {
		return nil
	}
	var out []record.BalancerNode
	for part := range strings.SplitSeq(text, ",") {
		node, weight, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(weight)
		if err != nil || n < 1 || node == "" {
			return nil
		}
		out = append(out, record.BalancerNode{Node: node, Weight: n})
	}
	return out
}

// waitBalanced returns when the lab's load balancer deals connections to just those nodes that want them now, if a client
// dials it. Other load balancers do not tell what they do: theirs is the user's time.
func (r *Run) waitBalanced(ctx context.Context) error {
	if r.c.provider != "lab" || !r.dialsBalancer() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, balancerSettles)
	defer cancel()
	last := ""
	for {
		s, err := r.c.client.CoreV1().Services(r.Namespace()).Get(ctx, serviceEcho, metav1.GetOptions{})
		if err == nil {
			said := serviceFact(s)
			nodes, err := r.labNodes(ctx)
			if err != nil {
				return err
			}
			checks := r.c.readHealthChecks(ctx, []record.Service{said}, nodes)
			weighted := s.Annotations[scenarios.AnnotationBalancerWeights] == scenarios.BalancerWeightsEndpoints
			if last = unsettled(said, checks, weighted); last == "" {
				return nil
			}
		}
		if pause(ctx, balancerPause) != nil {
			break
		}
	}
	if context.Cause(ctx) == context.Canceled { //nolint:errorlint // the bare one: the caller gave up
		return ctx.Err()
	}
	return fmt.Errorf("the lab's load balancer has not taken up what the nodes say within %v: %s", balancerSettles, last)
}

func (r *Run) dialsBalancer() bool {
	return slices.ContainsFunc(r.d.Scenario.Spec.Clients, func(c scenarios.Client) bool { return c.Target == scenarios.TargetLoadBalancer })
}

// labNodes are the nodes that serve node ports.
func (r *Run) labNodes(ctx context.Context) ([]record.Node, error) {
	list, err := r.c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading nodes: %w", r.explained(ctx, err))
	}
	var out []record.Node
	for i := range list.Items {
		n := newNode(&list.Items[i])
		out = append(out, record.Node{Name: n.name, External: n.external})
	}
	return out, nil
}

// unsettled says where what the balancer does and what the nodes want differ; "" nowhere.
func unsettled(s record.Service, checks []record.HealthCheck, weighted bool) string {
	if len(s.Balancer) == 0 {
		return "it has not said anything"
	}
	dealt := map[string]int{}
	for _, n := range s.Balancer {
		dealt[n.Node] = n.Weight
	}
	wanted := slices.ContainsFunc(checks, func(h record.HealthCheck) bool { return h.Status == http.StatusOK })
	for _, h := range checks {
		weight, gets := dealt[h.Node]
		switch {
		case !wanted:
		case h.Status == http.StatusOK && !gets:
			return fmt.Sprintf("%s wants connections and gets none", h.Node)
		case h.Status != http.StatusOK && gets:
			return fmt.Sprintf("%s wants no connections and gets some", h.Node)
		case weighted && gets && h.Weight > 0 && weight != h.Weight:
			return fmt.Sprintf("%s says weight %d and has %d", h.Node, h.Weight, weight)
		}
	}
	return ""
}
