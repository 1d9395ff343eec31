package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
	"github.com/podskew/podskew/scenarios"
)

const (
	programmedWithin = 60 * time.Second // kube-proxy syncs within seconds; its longest retry is 30 s
	removeWithin     = 60 * time.Second
	factsWithin      = 10 * time.Second
	// startIn and startEach are how long after the decision the load starts, or its warm-up: time for every agent to get its
	// plans, which go out side by side.
	startIn   = 400 * time.Millisecond
	startEach = 10 * time.Millisecond
)

// session is one scenario being run.
type session struct {
	e        *env
	st       *status
	scenario *scenarios.Scenario
	given    *provided
	o        *runOptions
	series   *series
	last     bool // nothing runs on this cluster after it

	id       string
	cluster  *cluster.Cluster
	deployed *cluster.Run
	streams  []record.Stream
	start    time.Time
	dir      *runDir
	end      record.End // what is known of it so far
}

// run runs the scenario. What was measured is kept and reported also when the run could not be completed, which the
// error says; the report is nil if nothing was.
func (r *session) run(ctx context.Context) (rep *analyze.Report, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer watchCluster(ctx, r.given, cancel)()

	if err := r.deploy(ctx); err != nil {
		return nil, errors.Join(causeOr(ctx, err), r.remove(ctx))
	}
	loadErr := r.measure(ctx)
	r.sweep(ctx) // before the report: most of the time that pods take to end is waiting
	if r.dir != nil {
		rep, err = r.report()
	}
	return rep, errors.Join(causeOr(ctx, loadErr), err, r.remove(ctx))
}

// watchCluster ends the run with the cluster's own words if the cluster ends before it.
func watchCluster(ctx context.Context, given *provided, cancel context.CancelCauseFunc) func() {
	if given.died == nil {
		return func() {}
	}
	var watcher sync.WaitGroup
	done := make(chan struct{})
	watcher.Go(func() {
		select {
		case <-given.died:
			cancel(given.reason())
		case <-done:
		case <-ctx.Done():
		}
	})
	return func() {
		close(done)
		watcher.Wait()
	}
}

// causeOr prefers the reason a context ended for to the error that came of it.
func causeOr(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// deploy puts the scenario into the cluster and waits until the proxies know it.
func (r *session) deploy(ctx context.Context) error {
	cl, err := cluster.Connect(ctx, cluster.Config{
		Kubeconfig: r.given.kubeconfig, Context: r.o.context, Provider: r.given.provider, UserAgent: "podskew/" + toolVersion(),
	})
	if err != nil {
		return environmentError(err, "")
	}
	r.cluster = cl
	if err := r.lacking(ctx); err != nil {
		return err
	}
	if r.given.provider == "current" {
		r.st.note("cluster: %s, namespace podskew-%s; %s; %s has %d", cl.Server(), r.id, r.o.words(), r.scenario.Metadata.Name, connections(r.scenario))
	}
	err = r.st.do(r.deployTitle(), func(p *step) error {
		r.deployed, err = cl.Deploy(ctx, cluster.Deployment{
			RunID: r.id, Scenario: r.scenario, Image: r.o.image, ImagePullPolicy: r.o.pullPolicy, GatewayImages: r.o.gateways,
			Tolerations: r.o.tolerations, NodeSelector: r.o.labels, NodeSubnet: r.given.nodeSubnet,
			Machines: r.given.machines, Holder: holder(), Keep: r.given.disposable,
		},
			func(step string) { p.update("%s", step) })
		return err
	})
	if _, lacking := errors.AsType[*cluster.LackingError](err); lacking {
		return err
	}
	if _, lacking := errors.AsType[*cluster.RightsError](err); lacking {
		return environmentError(err, "\"podskew rbac\" prints all that a run needs, for an administrator to apply")
	}
	if err != nil {
		return environmentError(err, "")
	}
	r.streams = r.deployed.Streams()
	if err := r.given.sweeper.vacated(ctx); err != nil {
		return environmentError(err, "")
	}
	who := "kube-proxy has programmed the endpoints"
	if r.scenario.Spec.DestinationRule != nil {
		who = "the clients' sidecars know the endpoints"
	}
	err = r.st.do("Waiting until "+who, func(*step) error {
		ctx, cancel := context.WithTimeout(ctx, programmedWithin)
		defer cancel()
		return r.deployed.WaitProgrammed(ctx, r.probe)
	})
	if err != nil {
		return environmentError(err, "")
	}
	return nil
}

func (r *session) deployTitle() string {
	pods := r.scenario.Spec.Echo.Replicas
	for _, n := range r.scenario.Spec.Echo.Placement {
		pods += n
	}
	clients := 0
	for _, c := range r.scenario.Spec.Clients {
		clients += c.Count
	}
	return fmt.Sprintf("Deploying %s, %s and %s", count(pods, "echo pod"), "the Service", count(clients, "client"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// holder tells people whose run it is.
func holder() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("podskew on %s, pid %d", host, os.Getpid())
}

func (r *session) post(agent string) loadgen.Post {
	return func(ctx context.Context, path string, body io.Reader) (io.ReadCloser, error) {
		return r.deployed.Post(ctx, agent, path, body)
	}
}

func (r *session) probe(ctx context.Context, agent, address string) error {
	return loadgen.Probe(ctx, r.post(agent), address)
}

// measure sends the load and writes the record. Whatever goes wrong from here on, the record is
// closed and holds what was measured.
func (r *session) measure(ctx context.Context) (err error) {
	plans := 0
	for _, s := range r.streams {
		plans += len(s.Agents)
	}
	r.start = time.Now().Add(startIn + time.Duration(plans)*startEach + r.scenario.Spec.WarmUp)
	run := record.Run{ID: r.id, Scenario: r.scenario.Metadata.Name, Start: r.start, Seed: r.o.seed, Tool: toolVersion()}
	if r.dir, err = createRunDir(r.o.runsDir, r.scenario, run); err != nil {
		return err
	}
	facts, err := r.deployed.Facts(ctx, r.start)
	if err != nil {
		err = environmentError(fmt.Errorf("reading the cluster's facts: %w", err), "")
		return errors.Join(err, r.finish(ctx, err))
	}
	lines := []record.Line{{Facts: &facts}}
	for i := range r.streams {
		lines = append(lines, record.Line{Stream: &r.streams[i]})
	}
	for _, l := range lines {
		if err := r.dir.record.Write(l); err != nil {
			return errors.Join(err, r.finish(ctx, err))
		}
	}
	err = r.st.do("Sending load", func(p *step) error {
		live := newLive(p, r.dir.record)
		if r.o.watch {
			live.watch = r.e.watch(r.st, r.streams, echoPods(&facts))
			defer live.watch.close()
		}
		return r.load(ctx, live)
	})
	return errors.Join(err, r.finish(ctx, err), r.restore(ctx))
}

// load runs every stream on every agent at once. The first agent that fails ends the others: a run
// with a part of its load missing is not the run that was asked for.
func (r *session) load(ctx context.Context, live *live) error {
	whole := ctx
	g, ctx := errgroup.WithContext(ctx)
	var driving sync.WaitGroup
	for _, s := range r.streams {
		for i, agent := range s.Agents {
			plan := r.plan(s, i)
			sink := live.sink(s.ID, agent.Name)
			driving.Add(1)
			g.Go(func() error {
				defer driving.Done()
				return r.drive(ctx, agent.Name, plan, sink)
			})
		}
	}
	loaded, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g.Go(func() error {
		driving.Wait()
		end()
		return nil
	})
	var missed []string
	g.Go(func() (err error) {
		missed, err = r.conductor(live).conduct(ctx, loaded)
		return err
	})
	servers := newServers(r.deployed)
	g.Go(func() error { return servers.begin(ctx, r.start) })
	err := g.Wait()
	r.end.Problems = append(append(r.end.Problems, live.problems()...), missed...)
	r.end.Seconds, r.end.SampleStride = live.ended()
	if err != nil || whole.Err() != nil {
		return err
	}
	return r.askServers(whole, servers) // the group's context has ended
}

// askServers adds to the record what the echo pods counted. That it cannot be read does not spoil what clients measured.
func (r *session) askServers(ctx context.Context, servers *servers) error {
	ctx, cancel := context.WithTimeout(ctx, serversWithin)
	defer cancel()
	counted, problem := servers.end(ctx, r.start)
	if problem != "" {
		r.end.Problems = append(r.end.Problems, problem)
	}
	for i := range counted {
		if err := r.dir.record.Write(record.Line{Server: &counted[i]}); err != nil {
			return environmentError(err, "")
		}
	}
	return nil
}

func (r *session) drive(ctx context.Context, agent string, plan loadgen.Plan, sink loadgen.Sink) error {
	err := loadgen.Drive(ctx, r.post(agent), plan, sink)
	if err == nil || ctx.Err() != nil {
		return err
	}
	stateCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factsWithin)
	defer cancel()
	hint := ""
	if state, stateErr := r.deployed.AgentState(stateCtx, agent); stateErr == nil && !state.Running {
		hint = agent + ": " + state.Detail
	}
	return environmentError(err, hint)
}

func (r *session) client(name string) scenarios.Client {
	for _, c := range r.scenario.Spec.Clients {
		if c.Name == name {
			return c
		}
	}
	return scenarios.Client{}
}

// finish reads the facts once more and ends the record, after an interrupt too.
func (r *session) finish(ctx context.Context, loadErr error) error {
	end := r.end
	end.Problems = append(end.Problems, r.cluster.Notes()...)
	if end.Seconds == 0 {
		end.Seconds = max(0, time.Since(r.start).Seconds())
	}
	if why := errors.Join(loadErr, context.Cause(ctx)); why != nil {
		// Agents that were told to stop end without an error: the context knows better.
		end.Interrupted = true
		end.Problems = append(end.Problems, "the run did not complete: "+causeOr(ctx, why).Error())
	}
	if !r.gone() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), factsWithin)
		defer cancel()
		if facts, err := r.deployed.Facts(after, r.start); err == nil {
			_ = r.dir.record.Write(record.Line{FactsAfter: &facts})
		} else {
			end.Problems = append(end.Problems, "the facts after the run could not be read: "+err.Error())
		}
	}
	return errors.Join(r.dir.record.Write(record.Line{End: &end}), r.dir.close())
}

// report analyzes the record as it lies in the run's folder, so that "podskew analyze" repeats it exactly.
func (r *session) report() (*analyze.Report, error) {
	rec, s, err := loadRun(r.e, r.dir.path)
	if err != nil {
		return nil, err
	}
	rep, err := analyzeRecord(rec, s)
	if err != nil {
		return nil, err
	}
	err = r.dir.writeReports(rep)
	if r.series.single() {
		err = errors.Join(err, r.o.out.write(r.e, rep))
		r.st.note("run: %s", filepath.Clean(r.dir.path))
	}
	return rep, err
}

// sweep begins to take everything of the run out of a cluster of podskew's own where another run follows, which waits for
// the end of it. Elsewhere it does nothing.
func (r *session) sweep(ctx context.Context) {
	if r.deployed == nil || r.last || r.given.provider == "current" || r.ends(ctx) {
		return
	}
	r.given.sweeper.sweep(ctx, r.deployed)
	r.deployed = nil
}

// ends is whether the cluster ends now, with all that is in it, or has ended.
func (r *session) ends(ctx context.Context) bool {
	return r.given.disposable && (r.last || stopped(ctx)) || r.gone()
}

// remove takes everything of the run out of the cluster, also after an interrupt. A cluster that ends now is left as it is.
func (r *session) remove(ctx context.Context) error {
	r.sweep(ctx)
	switch {
	case r.deployed == nil:
		return nil
	case r.ends(ctx):
		r.deployed.Close()
		return nil
	}
	return r.st.do("Removing what was deployed", func(*step) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
		defer cancel()
		if err := r.deployed.Remove(ctx); err != nil {
			return environmentError(err, "\"podskew clean\" removes what is left")
		}
		return nil
	})
}

// gone reports whether the cluster has ended.
func (r *session) gone() bool { return r.given.ended() }
