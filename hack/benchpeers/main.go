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
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b.ctx, b.out, b.peers = ctx, os.Stdout, peers(*podskew)
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
	for _, fresh := range []bool{false, true} {
		if err := b.compare(fresh); err != nil {
			return err
		}
	}
	return b.echo(pod)
}

// compare runs all peers against one nginx.
func (b *bench) compare(fresh bool) error {
	nginx, err := startNginx(b.ctx, b.dir, b.pinned)
	if err != nil {
		return err
	}
	defer nginx.stop()
	l := load{url: nginx.url, connections: b.connections, seconds: b.seconds, fresh: fresh, script: filepath.Join(b.dir, "k6.js")}
	script := "import http from 'k6/http';\nexport default function () { http.get('" + nginx.url + "/'); }\n"
	if err := os.WriteFile(l.script, []byte(script), 0o600); err != nil {
		return err
	}
	got := map[string][]float64{}
	for round := range b.rounds {
		order := slices.Clone(b.peers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, p := range order {
			perSecond, err := b.one(p, l)
			if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, errCannot) {
				continue
			}
			if err != nil {
				return err
			}
			got[p.name] = append(got[p.name], perSecond)
		}
	}
	b.table(fresh, got)
	return nil
}

var errCannot = errors.New("this peer cannot make that load")

// one runs a peer once and returns requests per second of its processor time.
func (b *bench) one(p peer, l load) (float64, error) {
	args := p.args(l)
	if args == nil {
		return 0, errCannot
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	args[0] = program
	args = pin(args, b.pinned, "1")
	cmd := exec.CommandContext(b.ctx, args[0], args[1:]...) //nolint:gosec // this program's own words
	output, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", p.name, err, output)
	}
	n, err := p.count(output)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // of wait4
	return float64(n) / cpu.Seconds(), err
}

// table prints medians, ranges, and the medians of podskew's ratios round by round.
func (b *bench) table(fresh bool, got map[string][]float64) {
	title := "keep-alive"
	if fresh {
		title = "a connection for every request"
	}
	fmt.Fprintf(b.out, "\n%s: thousand requests per second of the client's processor time\n", title)
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "client\tmedian\tleast\tmost\tpodskew is\t")
	ours := got["podskew"]
	for _, p := range b.peers {
		runs := got[p.name]
		if len(runs) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t\n", p.name)
			continue
		}
		ratio := "-"
		if p.name != "podskew" && len(ours) == len(runs) {
			pairs := make([]float64, len(runs))
			for i := range runs {
				pairs[i] = ours[i] / runs[i]
			}
			ratio = fmt.Sprintf("%.2f x", median(pairs))
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%s\t\n", p.name, median(runs)/1e3, slices.Min(runs)/1e3, slices.Max(runs)/1e3, ratio)
	}
	_ = w.Flush()
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
	client := b.peers[slices.IndexFunc(b.peers, func(p peer) bool { return p.name == "wrk" })]
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
