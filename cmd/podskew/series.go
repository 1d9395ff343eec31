package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/xid"

	"github.com/podskew/podskew/cluster"
	"github.com/podskew/podskew/kind"
	"github.com/podskew/podskew/report"
	"github.com/podskew/podskew/scenarios"
)

// brokenInARow is after how many runs that the environment failed, one after the other, it is taken for broken.
const brokenInARow = 2

// series is the runs that one command makes: every scenario in every mode, mode by mode, with one cluster for each.
type series struct {
	e     *env
	st    *status
	o     *runOptions
	list  []*scenarios.Scenario
	modes []string
	// provide gets a cluster and make makes one run on it; last is whether it is the cluster's last.
	provide func(ctx context.Context, o clusterOptions) (*provided, error)
	make    func(ctx context.Context, given *provided, s *scenarios.Scenario, last bool) ran

	sum  report.Summary
	errs []error // of the environment, by run
}

func (e *env) newSeries(st *status, o *runOptions, list []*scenarios.Scenario) *series {
	s := &series{e: e, st: st, o: o, list: list, modes: o.modes(list)}
	s.provide = func(ctx context.Context, o clusterOptions) (*provided, error) { return e.provide(ctx, st, o) }
	s.make = s.session
	return s
}

// single is whether there is one run, which is reported by itself.
func (s *series) single() bool { return s.runs() == 1 }

func (s *series) runs() int { return len(s.list) * len(s.modes) }

// run makes all runs. Whatever ends the series early, what there is by then is reported.
func (s *series) run(ctx context.Context) error {
	s.sum.Start, s.sum.Tool = time.Now(), toolVersion()
	for _, mode := range s.modes {
		if err := s.onOne(ctx, mode); err != nil {
			s.errs = append(s.errs, err)
		}
	}
	return s.end(ctx)
}

// onOne makes the runs of one mode. The error is the cluster's; those of runs are in the summary.
func (s *series) onOne(ctx context.Context, mode string) error {
	left := s.list
	for first := true; len(left) > 0; first = false {
		if stopped(ctx) {
			s.leave(left, mode, "the series was interrupted")
			return nil
		}
		o := s.o.clusterOptions
		o.proxyMode = mode
		given, err := s.provide(ctx, o)
		if err != nil {
			s.leave(left, mode, "there is no cluster for it: "+err.Error())
			return err
		}
		done, broken := s.on(ctx, given, left, mode)
		left = left[done:]
		err = s.giveBack(ctx, given)
		switch {
		case stopped(ctx):
			s.leave(left, mode, "the series was interrupted")
			return err
		case broken != nil && (!given.disposable || !first):
			s.leave(left, mode, "the cluster failed: "+firstLine(broken))
			return err
		case broken != nil && len(left) > 0:
			s.note("%s: the series goes on with a new cluster", firstLine(broken))
		case err != nil:
			return err
		}
	}
	return nil
}

// giveBack waits for what is still being removed and ends the cluster if it ends with the series.
func (s *series) giveBack(ctx context.Context, given *provided) error {
	var err error
	if given.disposable {
		given.sweeper.stop()
	} else if given.sweeper.busy() {
		err = s.st.do("Removing what was deployed", func(*step) error { return given.sweeper.wait() })
		if err != nil {
			err = environmentError(err, "\"podskew clean\" removes what is left")
		}
	}
	return errors.Join(err, given.close(context.WithoutCancel(ctx)))
}

// firstLine is what a note has room for.
func firstLine(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSuffix(first, ":")
}

// note says something to the reader of progress and of the summary.
func (s *series) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.sum.Notes = append(s.sum.Notes, text)
	s.st.note("%s", text)
}

// on runs scenarios on one cluster. It returns how many it is done with and, if the cluster broke on the way, how.
func (s *series) on(ctx context.Context, given *provided, list []*scenarios.Scenario, mode string) (done int, broken error) {
	inARow := 0
	for i, scenario := range list {
		if stopped(ctx) {
			return i, nil
		}
		run := s.one(ctx, given, scenario, i == len(list)-1)
		if run.ProxyMode == "" {
			run.ProxyMode = mode
		}
		s.add(run.SummaryRun)
		switch {
		case run.Outcome != report.Broken:
			inARow = 0
			continue
		case given.ended():
			return i + 1, run.err
		}
		if inARow++; inARow == brokenInARow {
			return i + 1, run.err
		}
	}
	return len(list), nil
}

// stopped is whether somebody ended the series.
func stopped(ctx context.Context) bool { return context.Cause(ctx) != nil }

// ran is what came of one run.
type ran struct {
	report.SummaryRun

	err error
}

// one makes one run.
func (s *series) one(ctx context.Context, given *provided, scenario *scenarios.Scenario, last bool) ran {
	number := len(s.sum.Runs) + 1
	out := ran{SummaryRun: report.SummaryRun{Scenario: scenario.Metadata.Name, Provider: given.provider, ProxyMode: given.proxyMode}}
	if why := scenarios.Unmet(scenario, scenarios.Environment{Provider: given.provider, ProxyMode: given.proxyMode}); why != "" && given.proxyMode != "" {
		out.Outcome, out.Detail = report.Skipped, why
		return out
	}
	if !s.single() {
		s.st.within(fmt.Sprintf("[%d/%d] %s: ", number, s.runs(), scenario.Metadata.Name))
		defer s.st.within("")
	}
	begun := time.Now()
	made := s.make(ctx, given, scenario, last)
	out.Report, out.Folder, out.err = made.Report, made.Folder, made.err
	out.Seconds = time.Since(begun).Seconds()
	if out.Report != nil && slices.Contains(kind.ProxyModes(), out.Report.Cluster.ProxyMode) {
		out.ProxyMode = out.Report.Cluster.ProxyMode
	}
	out.Outcome, out.Detail = outcomeOf(ctx, out)
	if out.Outcome == report.Skipped {
		out.Seconds = 0 // to find that out is no run
	}
	if out.Outcome == report.Broken {
		s.errs = append(s.errs, fmt.Errorf("%s: %w", scenario.Metadata.Name, out.err))
	}
	return out
}

// session makes one run for real.
func (s *series) session(ctx context.Context, given *provided, scenario *scenarios.Scenario, last bool) ran {
	r := &session{e: s.e, st: s.st, scenario: scenario, given: given, o: s.o, series: s, last: last, id: xid.New().String()}
	var out ran
	out.Report, out.err = r.run(ctx)
	if r.dir != nil {
		out.Folder = filepath.Clean(r.dir.path)
	}
	return out
}

// outcomeOf puts the end of a run into words.
func outcomeOf(ctx context.Context, r ran) (report.Outcome, string) {
	if lacking, ok := errors.AsType[*cluster.LackingError](r.err); ok {
		return report.Skipped, lacking.What
	}
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return report.Interrupted, "it was interrupted"
	case r.err != nil:
		return report.Broken, r.err.Error()
	case r.Report == nil || !r.Report.Passed:
		return report.Failed, ""
	default:
		return report.Passed, ""
	}
}

// lacking is a [*cluster.LackingError] if the cluster does not have what the scenario needs.
func (r *session) lacking(ctx context.Context) error {
	requires := r.scenario.Spec.Requires
	in := scenarios.Environment{Provider: r.given.provider, ProxyMode: r.given.proxyMode}
	if requires != nil && len(requires.ProxyModes) > 0 && in.ProxyMode == "" {
		var err error
		if in.ProxyMode, err = r.cluster.ProxyMode(ctx); err != nil {
			return environmentError(err, "")
		}
	}
	if why := scenarios.Unmet(r.scenario, in); why != "" {
		return &cluster.LackingError{What: why}
	}
	err := r.cluster.NeedAPIs(ctx, scenarios.APIs(r.scenario))
	if _, lacking := errors.AsType[*cluster.LackingError](err); err == nil || lacking {
		return err
	}
	return environmentError(err, "")
}

// add takes a run into the summary and shows it.
func (s *series) add(run report.SummaryRun) {
	s.sum.Runs = append(s.sum.Runs, run)
	switch {
	case !s.single():
		s.st.show(report.SummaryLine(&run, len(s.sum.Runs), s.runs(), lineWidth))
	case run.Outcome == report.Skipped:
		s.st.note("skipped: %s", run.Detail)
	}
}

// lineWidth is of progress where its terminal's width does not matter.
const lineWidth = 80

// leave notes runs that will not be made.
func (s *series) leave(list []*scenarios.Scenario, mode, why string) {
	for _, scenario := range list {
		s.sum.Runs = append(s.sum.Runs, report.SummaryRun{Scenario: scenario.Metadata.Name, ProxyMode: mode, Outcome: report.NotRun, Detail: why})
	}
}

// end reports the series and returns the worst of what happened, as an error with its exit code.
func (s *series) end(ctx context.Context) error {
	s.sum.Seconds = time.Since(s.sum.Start).Seconds()
	s.sum.Count()
	var err error
	if !s.single() {
		err = s.o.out.writeSummary(s.e, &s.sum)
	}
	counts := s.sum.Counts
	switch {
	case err != nil:
		return err
	case errors.Is(context.Cause(ctx), errInterrupted):
		return errInterrupted
	case len(s.errs) > 0 && s.single():
		return s.errs[0]
	case len(s.errs) > 0:
		return s.broken()
	case counts[report.Failed] > 0:
		return errExpectation
	case counts[report.Passed] == 0:
		return &exitError{err: errors.New("nothing ran: every scenario was skipped"), code: exitEnvironment, hint: "the reasons are above"}
	}
	return nil
}

// broken is the error of a series whose runs have been shown with theirs.
func (s *series) broken() error {
	n := s.sum.Counts[report.Broken]
	if n == 0 { // of a cluster, not of a run
		return errors.Join(s.errs...)
	}
	return &exitError{err: fmt.Errorf("the environment failed in %s", count(n, "run")), code: exitEnvironment}
}
