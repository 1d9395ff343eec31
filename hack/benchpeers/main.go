// Command benchpeers runs load generators side by side against one nginx on loopback and prints how many requests each
// makes per second of its own processor time, the median of several alternating rounds, and the ratios to wrk. Peers that
// are not installed are left out. That time is what clients are to be compared by: how much load a core can make does not
// depend on how busy the server is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

type bench struct {
	ctx         context.Context
	out         io.Writer
	peers       []peer
	rounds      int
	seconds     int
	connections int
	pinned      bool
	only        string // keep, fresh or echo; "": all
	dir         string
}

func main() {
	var b bench
	podskew := flag.String("podskew", "bin/podskew", "the program under test")
	pod := flag.String("pod", "bin/podskew-pod", "the echo pod's program")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds, every other one in reverse order")
	flag.IntVar(&b.seconds, "seconds", 3, "length of each run")
	flag.IntVar(&b.connections, "connections", 16, "concurrent connections")
	flag.BoolVar(&b.pinned, "pin", false, "clients on processor 1, servers on processor 0 (needs taskset)")
	flag.StringVar(&b.only, "only", "", "measure one part: keep, fresh or echo")
	chosen := flag.String("clients", "", "comma-separated: only these clients (default all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b.ctx, b.out, b.peers = ctx, os.Stdout, choose(peers(*podskew), *chosen)
	if err := b.run(*pod); err != nil {
		fmt.Fprintln(os.Stderr, "benchpeers:", err)
		stop()
		os.Exit(1)
	}
}

func (b *bench) run(pod string) (err error) {
	if b.dir, err = os.MkdirTemp("", "benchpeers"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	how := "not pinned"
	if b.pinned {
		how = "clients pinned to processor 1, servers to 0"
	}
	fmt.Fprintf(b.out, "%d connections, %d rounds of %d s, %s\n", b.connections, b.rounds, b.seconds, how)
	if b.only == "" || b.only == "keep" {
		if err := b.compare(false); err != nil {
			return err
		}
	}
	if b.only == "" || b.only == "fresh" {
		if err := b.compare(true); err != nil {
			return err
		}
	}
	if b.only == "" || b.only == "echo" {
		return b.echo(pod)
	}
	return nil
}

// compare runs all peers against one nginx.
func (b *bench) compare(fresh bool) error {
	nginx, err := startNginx(b.ctx, b.dir, b.pinned)
	if err != nil {
		return err
	}
	defer nginx.stop()
	l := load{url: nginx.url, keep: filepath.Join(b.dir, "runs"), connections: b.connections, seconds: b.seconds, fresh: fresh}
	if l.scripts, err = writeScripts(b.dir, nginx.url); err != nil {
		return err
	}
	got := map[string][]result{}
	for round := range b.rounds {
		order := slices.Clone(b.peers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, p := range order {
			one, err := b.one(p, l)
			if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, errCannot) {
				continue
			}
			if err != nil {
				return err
			}
			got[p.name] = append(got[p.name], one)
		}
	}
	b.table(fresh, got)
	return nil
}

var errCannot = errors.New("this peer cannot make that load")

// result is what one run of a client gave.
type result struct {
	perSecond float64 // requests per second of the whole process's time, its start and its report included
	alone     float64 // the same without start and report; 0: not known
	memory    float64 // MB, the most that was resident
}

// one runs a peer once.
func (b *bench) one(p peer, l load) (result, error) {
	args := p.args(l)
	if args == nil {
		return result{}, errCannot
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return result{}, err
	}
	args[0] = program
	args = pin(args, b.pinned, "1")
	cmd := exec.CommandContext(b.ctx, args[0], args[1:]...) //nolint:gosec // this program's own words
	output, err := cmd.CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("%s: %w\n%s", p.name, err, output)
	}
	n, err := p.count(output)
	if err != nil {
		return result{}, err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // of wait4
	r := result{perSecond: float64(n) / cpu.Seconds()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = float64(usage.Maxrss) / 1024 // of KiB
	}
	if p.name == self {
		var alone time.Duration
		if alone, err = takeLoadTime(l.keep); err == nil {
			r.alone = float64(n) / alone.Seconds()
		}
	}
	return r, err
}

// table prints medians, ranges, and the medians of podskew's ratios round by round: of its whole process, and of the load
// without what a run costs once, which its peers have less of: the start, and the analysis of all connections.
func (b *bench) table(fresh bool, got map[string][]result) {
	title := "keep-alive"
	if fresh {
		title = "a connection for every request"
	}
	fmt.Fprintf(b.out, "\n%s: thousand requests per second of the client's processor time\n", title)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "client\tmedian\tleast\tmost\tMB\tpodskew is\tits load alone\t")
	ours := got[self]
	row := func(name string, runs []float64, memory float64, whole, alone string) {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.0f\t%s\t%s\t\n", name, median(runs)/1e3, slices.Min(runs)/1e3, slices.Max(runs)/1e3, memory, whole, alone)
	}
	for _, p := range b.peers {
		runs := got[p.name]
		if len(runs) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t-\t\n", p.name)
			continue
		}
		perSecond := column(runs, func(r result) float64 { return r.perSecond })
		memory := slices.Max(column(runs, func(r result) float64 { return r.memory }))
		whole, alone := "-", "-"
		if p.name != self && len(ours) == len(runs) {
			whole = ratio(ours, perSecond, func(r result) float64 { return r.perSecond })
			alone = ratio(ours, perSecond, func(r result) float64 { return r.alone })
		}
		row(p.name, perSecond, memory, whole, alone)
		if p.name == self {
			row("  its load alone", column(runs, func(r result) float64 { return r.alone }), memory, "-", "-")
		}
	}
	_ = w.Flush()
}

func column(runs []result, of func(result) float64) []float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	return values
}

// ratio is the median of the rounds' ratios, with the least and the most.
func ratio(ours []result, theirs []float64, of func(result) float64) string {
	pairs := column(ours, of)
	for i := range pairs {
		pairs[i] /= theirs[i]
	}
	return fmt.Sprintf("%.2f x (%.2f-%.2f)", median(pairs), slices.Min(pairs), slices.Max(pairs))
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// echo measures how many requests an echo pod answers per second of its own processor time, so that nobody takes its limit
// for the Service's.
func (b *bench) echo(program string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(b.peers, func(p peer) bool { return p.name == "wrk" })
	if i < 0 {
		return nil
	}
	client := b.peers[i]
	fmt.Fprintln(b.out, "\necho pod: thousand requests per second of its own processor time")
	for _, fresh := range []bool{false, true} {
		s, err := startEcho(b.ctx, program, b.pinned)
		if err != nil {
			fmt.Fprintln(b.out, "not measured:", err)
			return nil
		}
		l := load{url: s.url, connections: b.connections, seconds: max(b.seconds, 2), fresh: fresh}
		args := pin(client.args(l), b.pinned, "1")
		output, err := exec.CommandContext(b.ctx, args[0], args[1:]...).CombinedOutput() //nolint:gosec // this program's own words
		idle := 50 * time.Millisecond                                                    // that starting takes, about
		cpu := s.stop() - idle
		if err != nil {
			fmt.Fprintln(b.out, "not measured:", err)
			return nil
		}
		n, err := client.count(output)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.out, "%-32s %.1f\n", map[bool]string{false: "keep-alive", true: "a connection for every request"}[fresh], float64(n)/cpu.Seconds()/1e3)
	}
	return nil
}
