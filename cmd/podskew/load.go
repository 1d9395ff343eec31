package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/xid"
	"github.com/spf13/cobra"

	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// loadStream is the name of the one stream of a load, and loadAgent that of the process that makes it.
const (
	loadStream = "load"
	loadAgent  = "local"
)

// loadOptions are the flags of load.
type loadOptions struct {
	plan     loadgen.Plan
	protocol string // "": by the URL
	header   string
	json     string
	backends int
	rates    []string
	unit     string
	out      outputs
	keep     string
	seed     uint64
}

func (e *env) loadCommand() *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load URL",
		Short: "Load any URL on a connection plan and report who answered",
		Long: `Load any URL, from this machine, and report how the requests and connections spread over the
backends that answered, with rate, errors and latency. Echo pods say who they are; for any other
server say where its answers name the backend: --backend-header or --backend-json. Without, the load
is reported but not its distribution.

Without --rate it is a closed loop: the next request goes out when the answer has come. With --rate
requests go out when they are due, and latencies count from then: a server that stalls shows.

The scheme names the protocol: http, https, ws, wss, grpc, grpcs, tcp, udp. Exit code: 0 the load ran,
whatever the answers were, 2 usage, 3 the load could not be made, 130 interrupted; what was measured
until then is reported.`,
		Example: `  podskew load http://web.example.org/ --connections 50 --duration 30s --backend-header X-Served-By
  podskew load http://10.96.0.10:8080 --requests-per-connection 1 --requests 2000 --backends 3
  podskew load https://web.example.org/api --rate 500 --backend-json metadata.pod`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args[0]); err != nil {
				return err
			}
			return e.load(cmd.Context(), e.status(cmd), &o)
		},
	}
	o.connectionFlags(cmd)
	o.timeFlags(cmd)
	o.reportFlags(cmd)
	return cmd
}

func (o *loadOptions) connectionFlags(cmd *cobra.Command) {
	f, p := cmd.Flags(), &o.plan
	f.IntVarP(&p.Connections, "connections", "c", 10, "concurrent connections")
	f.IntVar(&p.RequestsPerConnection, "requests-per-connection", 0, "requests on one connection; 0: as long as the run lasts, 1: a fresh connection for each")
	f.IntVar(&p.Concurrency, "concurrency", 0, "requests in flight at a time (default one per connection)")
	f.StringVar(&p.PoolPolicy, "pool-policy", "", "which idle connection is used next: roundRobin, lru, mru, firstFree")
	f.IntVar(&p.StreamsPerConnection, "streams-per-connection", 0, "with HTTP/2 and gRPC: requests in flight on one connection (default 1)")
	f.DurationVar(&p.ConnectionLifetime, "connection-lifetime", 0, "replace a connection after this time (default never)")
	f.Float64Var(&p.LifetimeJitter, "lifetime-jitter", 0, "vary lifetimes evenly by this fraction of themselves, 0 to 1")
	f.Float64Var(&p.ConnectionsPerSecond, "connections-per-second", 0, "churn: replace the oldest connection this often")
	f.StringVar(&p.Reconnect, "reconnect", "", "after a failure: backoff (default) or immediate")
	f.StringVar(&o.protocol, "protocol", "", "http1, http2, grpc, websocket, tcp or udp (default by the URL's scheme)")
	f.StringArrayVar(&p.Sources, "source", nil, "address of this machine that connections leave from; may be repeated, they take turns")
	f.StringVar(&p.Resolve, "resolve", "", "ask about the URL's name perRun (default) or perConnection")
	f.StringVar(&p.ResolveOrder, "resolve-order", "", "which of the name's addresses is dialled: roundRobin (default), random, first")
}

func (o *loadOptions) timeFlags(cmd *cobra.Command) {
	f, p := cmd.Flags(), &o.plan
	f.DurationVarP(&p.Duration, "duration", "d", 0, "how long (default 10s, or as long as --requests take)")
	f.IntVarP(&p.Requests, "requests", "n", 0, "how many requests in all")
	f.Float64Var(&p.ZipfExponent, "zipf-exponent", 0, "with --requests: connection k, from 1, gets its part in proportion to k^-this (default all get the same)")
	f.DurationVar(&p.WarmUp, "warm-up", 0, "send load for so long before the run begins, and count none of it")
	f.Float64VarP(&p.Rate, "rate", "r", 0, "open loop: requests per second, whenever the answers come")
	f.StringSliceVar(&o.rates, "rates", nil, "with --rate: change it, as 5s:200 at once or 10s:500:ramp evenly up to then; more of them by commas or by repeating")
	f.StringVar(&p.Arrivals, "arrivals", "", "with --rate: constant (default) or poisson")
	f.BoolVar(&p.Precise, "precise", false, "with --rate: send to the microsecond, at the price of a processor")
	f.DurationVar(&p.ThinkTime, "think-time", 0, "pause between an answer and the next request on its connection")
	f.DurationVar(&p.Timeout, "timeout", 5*time.Second, "of one request")
	f.DurationVar(&p.ConnectTimeout, "connect-timeout", 2*time.Second, "of one dial, TLS included")
}

func (o *loadOptions) reportFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.header, "backend-header", "", "header of the answers that names the backend")
	f.StringVar(&o.json, "backend-json", "", "path in the answers' JSON that names the backend: names joined by dots")
	f.IntVar(&o.backends, "backends", 0, "how many backends there are, so that those without traffic are seen (default those that answered)")
	f.StringVar(&o.unit, "unit", "", "what a backend is chosen for: connection (default), or request if a proxy chooses for each")
	f.StringVar(&o.keep, "keep", "runs", "where the run's folder with record and reports is made; \"\": keep nothing")
	f.Uint64Var(&o.seed, "seed", 1, "seeds arrivals, jitter and the analysis")
	o.out.flag(cmd)
}

// load makes the load and reports it. What was measured until an interrupt is reported, too.
func (e *env) load(ctx context.Context, st *status, o *loadOptions) (err error) {
	keep := o.keep
	if keep == "" {
		if keep, err = os.MkdirTemp("", "podskew-load-"); err != nil {
			return environmentError(err, "")
		}
		defer func() { err = errors.Join(err, os.RemoveAll(keep)) }()
	}
	run := record.Run{ID: xid.New().String(), Scenario: "load", Start: time.Now().Add(startLoadIn + o.plan.WarmUp), Seed: o.seed, Tool: toolVersion()}
	o.plan.Run, o.plan.Start = run.ID, run.Start
	dir, err := createRunDir(keep, nil, run)
	if err != nil {
		return err
	}
	if err := dir.record.Keep(); err != nil {
		return errors.Join(environmentError(err, ""), dir.close())
	}
	l := &loading{o: o, dir: dir}
	err = st.do(o.title(), func(p *step) error { return l.measure(ctx, p) })
	if err := errors.Join(err, l.finish(ctx)); err != nil {
		return err
	}
	return e.reportLoad(st, l)
}

// reportLoad analyzes the record as it lies in the run's folder, without reading it again.
func (e *env) reportLoad(st *status, l *loading) error {
	rec, cut, err := l.dir.record.Kept()
	if err != nil {
		return environmentError(err, "")
	}
	if cut {
		rec.End = endOfCut(rec)
	}
	rep, err := analyzeRecord(rec, nil)
	if err != nil {
		return err
	}
	err = errors.Join(l.dir.writeReports(rep), l.o.out.write(e, rep))
	if l.answered && !l.named {
		st.note("no answer says which backend it is of: --backend-header NAME or --backend-json PATH tells podskew where that stands")
	}
	if l.o.keep != "" {
		st.note("run: %s", filepath.Clean(l.dir.path))
	}
	return err
}

// startLoadIn is how long after the decision the load starts: names are looked up meanwhile.
const startLoadIn = 100 * time.Millisecond

// loading is a load under way.
type loading struct {
	o               *loadOptions
	dir             *runDir
	live            *live
	answered, named bool // an answer came; one that names its backend
}

// measure runs the plan in this process and writes the record.
func (l *loading) measure(ctx context.Context, p *step) error {
	l.live = newLive(p, l.dir.record)
	sink := l.live.sink(loadStream, loadAgent)
	err := loadgen.Run(ctx, l.o.plan, func(m loadgen.Message) error {
		if m.Ready != nil {
			stream := l.o.stream(m.Ready.IPs)
			return l.dir.record.Write(record.Line{Stream: &stream})
		}
		for _, t := range m.Tallies {
			l.answered = l.answered || t.Latency.Count() > 0
			l.named = l.named || t.Backend != ""
		}
		return sink(m)
	})
	if err != nil {
		return environmentError(err, "")
	}
	return nil
}

// finish ends the record.
func (l *loading) finish(ctx context.Context) error {
	end := record.End{Interrupted: ctx.Err() != nil, Problems: l.live.problems()}
	end.Seconds, end.SampleStride = l.live.ended()
	return errors.Join(l.dir.record.Write(record.Line{End: &end}), l.dir.close())
}

// stream is what the record says of the load.
func (o *loadOptions) stream(from []string) record.Stream {
	p := &o.plan
	return record.Stream{
		ID: loadStream, Client: loadStream, Vantage: "external", Target: "url", Addresses: p.Addresses,
		Protocol: p.Protocol, TLS: p.TLS, Connections: p.Connections, RequestsPerConnection: p.RequestsPerConnection,
		Requests: p.Requests, Duration: p.Duration.Seconds(), Rate: p.Rate, Arrivals: p.Arrivals,
		ConnectTimeout: p.ConnectTimeout.Seconds(), Timeout: p.Timeout.Seconds(),
		Agents:      []record.AgentRef{{Name: loadAgent, IPs: from}},
		Concurrency: p.Concurrency, StreamsPerConnection: p.StreamsPerConnection, PoolPolicy: p.PoolPolicy,
		ConnectionLifetime: p.ConnectionLifetime.Seconds(), LifetimeJitter: p.LifetimeJitter, ThinkTime: p.ThinkTime.Seconds(),
		ConnectionsPerSecond: p.ConnectionsPerSecond, Reconnect: p.Reconnect, Resolve: p.Resolve, ResolveOrder: p.ResolveOrder,
		Rates: p.Rates, WarmUp: p.WarmUp.Seconds(), ZipfExponent: p.ZipfExponent,
		Unit: record.Unit(o.unit), Backends: o.backends,
	}
}

// title is what the load is, in a few words.
func (o *loadOptions) title() string {
	p := &o.plan
	how := count(p.Connections, "connection")
	if p.RequestsPerConnection == 1 {
		how = count(p.Connections, "fresh connection") + " at a time"
	}
	if p.Rate > 0 {
		how += fmt.Sprintf(", %g requests/s", p.Rate)
	}
	if p.Requests > 0 {
		how += ", " + count(p.Requests, "request")
	} else {
		how += fmt.Sprintf(", %s", p.Duration)
	}
	return fmt.Sprintf("Loading %s: %s", cmp.Or(p.Host, p.Addresses[0].HostPort), how)
}
