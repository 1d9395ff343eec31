package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/scenarios"
)

const (
	defaultExpiry  = time.Hour
	defaultTimeout = 2 * time.Minute
)

var validRunID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// Deploy puts a run into the cluster and returns when its pods are ready, its endpoints complete and the canary
// applied (see WaitProgrammed). progress, if not nil, is told each step in a few words, never concurrently. When Deploy
// fails, also because ctx ended, it removes what it made, which takes some seconds, unless d.Keep is set.
func (c *Cluster) Deploy(ctx context.Context, d Deployment, progress func(step string)) (*Run, error) {
	if err := d.complete(); err != nil {
		return nil, err
	}
	tell := serial(progress)
	if c.provider == "current" { // on clusters that podskew makes it may do everything
		if err := c.CheckRights(ctx, d.RunID, d.Scenario); err != nil {
			return nil, err
		}
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the nodes: %w", c.explain(ctx, namespaceOf(d.RunID), err))
	}
	l, err := newLayout(d, nodes.Items)
	if err != nil {
		return nil, err
	}
	r := &Run{c: c, d: d, layout: l, token: rand.Text(), echoToken: rand.Text(), programmed: map[string]bool{}}
	if err := r.checkGateway(nodes.Items); err != nil {
		return nil, err
	}
	if err := r.createNamespace(ctx); err != nil {
		return nil, err
	}
	tell("namespace " + r.Namespace())
	if err := r.fill(ctx, tell); err != nil {
		if d.Keep {
			r.Close()
			return nil, err
		}
		tell("removing namespace " + r.Namespace())
		// What was deployed goes also when it was ctx that ended.
		rmErr := r.Remove(context.WithoutCancel(ctx))
		return nil, errors.Join(err, rmErr)
	}
	return r, nil
}

func (d *Deployment) complete() error {
	if !validRunID.MatchString(d.RunID) {
		return fmt.Errorf("run id %q: lower-case letters, digits and dashes only, 1 to 40 of them", d.RunID)
	}
	if d.Scenario == nil {
		return errors.New("deploying: no scenario")
	}
	if d.Image == "" {
		d.Image = DefaultImage
	}
	if d.ImagePullPolicy == "" {
		d.ImagePullPolicy = string(corev1.PullIfNotPresent)
	}
	if d.Expiry <= 0 {
		d.Expiry = defaultExpiry
	}
	if d.Timeout <= 0 {
		d.Timeout = defaultTimeout
	}
	if d.Holder == "" {
		d.Holder = fieldManager
	}
	return nil
}

func serial(progress func(string)) func(string) {
	var mu sync.Mutex
	return func(step string) {
		if progress == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		progress(step)
	}
}

// createNamespace refuses a namespace that is there already: it is another run's, or somebody's.
func (r *Run) createNamespace(ctx context.Context) error {
	api := r.c.client.CoreV1().Namespaces()
	if _, err := api.Get(ctx, r.Namespace(), metav1.GetOptions{}); err == nil {
		return fmt.Errorf("namespace %s exists already: another run has this id, or was not cleaned up", r.Namespace())
	} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return fmt.Errorf("looking for namespace %s: %w", r.Namespace(), err)
	}
	if _, err := api.Apply(ctx, namespaceObject(r.d, r.layout), applyOptions()); err != nil {
		return fmt.Errorf("creating namespace %s: %w", r.Namespace(), r.c.explain(ctx, r.Namespace(), err))
	}
	return nil
}

// fill puts everything into the run's namespace and waits for it.
func (r *Run) fill(ctx context.Context, tell func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, r.d.Timeout)
	defer cancel()
	if err := r.prepare(ctx); err != nil {
		return r.explained(ctx, err)
	}
	tell(r.serviceWords())
	if err := r.waitBalancer(ctx, tell); err != nil {
		return r.explained(ctx, err)
	}
	if r.dialsPods() {
		// What agents may dial is in their Secret, and pods have no addresses before they run.
		if err := r.startEcho(ctx); err != nil {
			return r.explained(ctx, err)
		}
		pods, err := r.ready(ctx, nil, tell)
		if err != nil {
			return err
		}
		if r.pods, err = r.waitEndpoints(ctx, echoNames(pods)); err != nil {
			return err
		}
	}
	if err := r.start(ctx); err != nil {
		return r.explained(ctx, err)
	}
	pods, err := r.ready(ctx, r.layout.agents, tell)
	if err != nil {
		return err
	}
	return r.complete(ctx, pods, tell)
}

// ready waits for the echo pods and these agents.
func (r *Run) ready(ctx context.Context, agents []agent, tell func(string)) ([]*corev1.Pod, error) {
	w := &readyWait{client: r.c.client, namespace: r.Namespace(), echo: r.layout.replicas + r.d.Scenario.Spec.Echo.Standby, agents: map[string]bool{}, progress: tell}
	for _, a := range agents {
		w.agents[a.name] = true
	}
	for _, g := range r.layout.gateways[:min(len(agents), 1)*len(r.layout.gateways)] { // they are started with the agents
		w.agents[g.name] = true
	}
	pods, err := w.wait(ctx)
	if err != nil {
		return nil, w.logTail(ctx, err)
	}
	return pods, nil
}

// complete takes up what is known once all pods are ready, and waits for their endpoints.
func (r *Run) complete(ctx context.Context, pods []*corev1.Pod, tell func(string)) error {
	if err := r.meetSidecars(pods); err != nil {
		return err
	}
	var first *corev1.Pod
	addresses := map[string][]string{}
	for _, p := range pods {
		addresses[p.Name] = podIPs(p)
		switch {
		case p.Labels[labelRole] != roleEcho, inStandby(p):
		case first == nil:
			first = p
		}
	}
	r.meetEcho(pods)
	r.standAt(addresses)
	echo := echoNames(pods)
	if _, err := r.waitEndpoints(ctx, echo); err != nil {
		return err
	}
	tell(fmt.Sprintf("endpoints complete: %d", len(echo)))
	return r.applyCanary(ctx, first)
}

// echoNames are the names of the echo pods among pods that the Services select.
func echoNames(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		if p.Labels[labelRole] == roleEcho && !inStandby(p) {
			out = append(out, p.Name)
		}
	}
	return out
}

// dialsPods reports whether somebody dials pods by their addresses: a client, or a gateway.
func (r *Run) dialsPods() bool {
	return balances(r.d.Scenario.Spec.Gateway) || slices.ContainsFunc(r.d.Scenario.Spec.Clients, func(c scenarios.Client) bool { return c.Target == scenarios.TargetPodIP })
}

// prepare applies what pods need before they can be: the account, the Services and the Lease that keeps Clean away.
func (r *Run) prepare(ctx context.Context) error {
	core, ns := r.c.client.CoreV1(), r.Namespace()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		// Renewed until Remove or Close, so not on the group's context, which ends here.
		r.keeper, err = r.c.keep(ctx, r.d.RunID, r.d.Holder)
		return step("lease", err)
	})
	g.Go(func() error {
		_, err := core.ServiceAccounts(ns).Create(gctx, accountObject(r.d), createOptions())
		return step("service account "+accountName, err)
	})
	g.Go(func() error {
		_, err := r.c.client.NetworkingV1().NetworkPolicies(ns).Create(gctx, policyObject(r.d), createOptions())
		return step("network policy "+policyName, err)
	})
	if controlled(r.d.Scenario) {
		g.Go(func() error {
			_, err := core.Secrets(ns).Create(gctx, echoSecretObject(r.d.RunID, r.echoToken), createOptions())
			return step("secret "+echoSecretName, err)
		})
	}
	g.Go(func() (err error) {
		if err = r.applyServices(gctx); err != nil {
			return err
		}
		return r.applyGatewayServices(gctx)
	})
	g.Go(func() error { return r.applyRule(gctx) })
	return g.Wait()
}

func (r *Run) applyService(ctx context.Context, o *corev1ac.ServiceApplyConfiguration) (*corev1.Service, error) {
	s, err := r.c.client.CoreV1().Services(r.Namespace()).Apply(ctx, o, applyOptions())
	return s, step("service "+*o.Name, err)
}

// startEcho applies the echo pods' Deployments. Applying them again changes nothing.
func (r *Run) startEcho(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, o := range echoDeployments(r.d, r.layout) {
		g.Go(func() error {
			_, err := r.c.client.AppsV1().Deployments(r.Namespace()).Apply(ctx, o, applyOptions())
			return step("deployment "+*o.Name, err)
		})
	}
	return g.Wait()
}

// start plans the streams, and applies the Secret that names what they dial and everything that has pods.
func (r *Run) start(ctx context.Context) (err error) {
	if r.streams, err = r.planStreams(); err != nil {
		return err
	}
	secret := secretObject(r.d.RunID, r.token, r.targets())
	if _, err := r.c.client.CoreV1().Secrets(r.Namespace()).Create(ctx, secret, createOptions()); err != nil {
		return step("secret "+secretName, err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	g.Go(func() error { return r.startEcho(ctx) })
	g.Go(func() error { return r.startGateway(ctx) })
	for _, a := range r.layout.agents {
		g.Go(func() error {
			_, err := r.c.client.CoreV1().Pods(r.Namespace()).Apply(ctx, agentPod(r.d, a), applyOptions())
			return step("agent pod "+a.name, err)
		})
	}
	return g.Wait()
}

func step(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("applying %s: %w", what, err)
}

func (r *Run) explained(ctx context.Context, err error) error {
	return r.c.explainFor(ctx, r.Namespace(), demandOf(r.d.Scenario), err)
}

func (r *Run) serviceWords() string {
	s := r.service.Spec
	out := fmt.Sprintf("service %s: %s %s", r.service.Name, s.Type, strings.Join(s.ClusterIPs, " "))
	if p := httpPort().nodePort(r.service); p > 0 {
		out += fmt.Sprintf(", node port %d", p)
	}
	if n := len(r.services) - 1; n > 0 {
		out += fmt.Sprintf(", and %d more", n)
	}
	return out
}

func podIPs(p *corev1.Pod) []string {
	var out []string
	for _, ip := range p.Status.PodIPs {
		out = append(out, ip.IP)
	}
	if len(out) == 0 && p.Status.PodIP != "" {
		out = append(out, p.Status.PodIP)
	}
	return out
}
