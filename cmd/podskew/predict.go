package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/report"
)

// predictFlags is what "podskew predict" is told on its command line.
type predictFlags struct {
	model     analyze.Model
	each      int // requests per connection
	placement string
	external  string
	internal  string
	out       documents
}

func (e *env) predictCommand() *cobra.Command {
	f := predictFlags{out: documents{formats: []string{"text", "json", "csv", "markdown"}}}
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "Predict the skew that chance and policies make, without a cluster",
		Long: `Predict how unevenly kube-proxy spreads connections over a Service's pods when nothing is wrong:
expected shares, the range of every measure of skew that chance alone explains, the chance that a pod
stays idle, the smallest skew a test of such a run can see, and how many connections even it out.
It takes no cluster and any size up to 100,000 pods and a billion connections.`,
		Example: `  podskew predict --backends 3 --connections 10
  podskew predict --backends 10 --requests 3000 --requests-per-connection 100 -o json
  podskew predict --placement 1,3 --external-traffic-policy Local --connections 400
  podskew predict --backends 5 --connections 1000 --affinity 40`,
		Args: arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return f.run(e) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.model.Backends, "backends", 0, "ready pods of the Service")
	flags.IntVar(&f.model.Connections, "connections", 0, "connections that are opened; without it as many as the requests need")
	flags.IntVar(&f.model.Requests, "requests", 0, "requests in all, spread evenly over the connections; without it one on each")
	flags.IntVar(&f.each, "requests-per-connection", 0, "requests after which a connection is closed; with --requests it gives the connections")
	flags.IntVar(&f.model.Clients, "affinity", 0, "sessionAffinity: ClientIP with this many client addresses")
	flags.StringVar(&f.placement, "placement", "", "pods on each node, such as 1,3; needed for a Local policy")
	flags.StringVar(&f.external, "external-traffic-policy", "", "Cluster or Local: connections from outside, entering evenly at the nodes that have a pod")
	flags.StringVar(&f.internal, "internal-traffic-policy", "", "Cluster or Local: clients in the cluster, evenly on the nodes that have a pod")
	flags.Float64Var(&f.model.Hot, "hot", 0, "a hot pod's factor of its share, to say how surely it would be found (default 1.5)")
	flags.Uint64Var(&f.model.Seed, "seed", 0, "of the simulation: the same seed gives the same figures")
	f.out.flag(cmd, "forecast")
	for _, name := range []string{"external-traffic-policy", "internal-traffic-policy"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"Cluster", "Local"}, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

func (f *predictFlags) run(e *env) error {
	hint := func(err error) error {
		return &exitError{err: err, code: exitUsage, hint: `for example: podskew predict --backends 3 --connections 10`}
	}
	if err := f.complete(); err != nil {
		return hint(err)
	}
	forecast, err := f.model.Forecast()
	if err != nil {
		return hint(err)
	}
	return f.out.write(e, func(w io.Writer, format string, opts report.TextOptions) error {
		switch format {
		case "json":
			return report.ForecastJSON(w, forecast)
		case "csv":
			return report.ForecastCSV(w, forecast)
		case "markdown":
			return report.ForecastMarkdown(w, forecast)
		default:
			return report.ForecastText(w, forecast, opts)
		}
	})
}

// complete works out what the flags leave open.
func (f *predictFlags) complete() error {
	var err error
	if f.model.Placement, err = parsePlacement(f.placement); err != nil {
		return err
	}
	if f.model.Policy, err = onePolicy(f.external, f.internal); err != nil {
		return err
	}
	m := &f.model
	switch {
	case m.Backends == 0 && m.Placement == nil:
		return errors.New("how many pods? --backends or --placement says it")
	case f.each < 0:
		return fmt.Errorf("--requests-per-connection %d: at least 1", f.each)
	case f.each > 0 && m.Connections > 0 && m.Requests > 0 && m.Requests != f.each*m.Connections:
		return fmt.Errorf("%d requests are not %d on each of %d connections", m.Requests, f.each, m.Connections)
	case f.each > 0 && m.Connections > 0:
		m.Requests = f.each * m.Connections
	case f.each > 0 && m.Requests > 0:
		m.Connections = (m.Requests + f.each - 1) / f.each
	case m.Connections == 0:
		m.Connections = m.Requests // a fresh one for each
	}
	if m.Connections == 0 {
		return errors.New("how many connections? --connections or --requests says it")
	}
	return nil
}

func parsePlacement(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var pods []int
	for part := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || n > analyze.MaxModelBackends {
			return nil, fmt.Errorf("--placement %q: write the pods on each node, such as 1,3", s)
		}
		pods = append(pods, n)
	}
	return pods, nil
}

// onePolicy makes one policy of two: what is Local for the traffic in question is Local.
func onePolicy(external, internal string) (string, error) {
	for name, value := range map[string]string{"external": external, "internal": internal} {
		if !slices.Contains([]string{"", "Cluster", "Local"}, value) {
			return "", fmt.Errorf("--%s-traffic-policy %q: write Cluster or Local", name, value)
		}
	}
	if external != "" && internal != "" {
		return "", errors.New("traffic is external or internal: give one of the two policies")
	}
	return external + internal, nil
}

// documents collects the -o flags of what is no report of a run. It is a pflag.Value.
type documents struct {
	formats []string // the first is the default
	list    []output
}

func (d *documents) String() string { return "" }

// Type names the flag's value in help.
func (d *documents) Type() string { return "FORMAT[=FILE]" }

// Set parses FORMAT, FORMAT=FILE, or a FILE whose ending tells the format.
func (d *documents) Set(s string) error {
	format, file, _ := strings.Cut(s, "=")
	if byEnding, ok := formatOfFile(s); ok && file == "" {
		format, file = byEnding, s
	}
	if !slices.Contains(d.formats, format) {
		return fmt.Errorf("unknown format %q: write one of %s, or FORMAT=FILE", s, strings.Join(d.formats, ", "))
	}
	d.list = append(d.list, output{format: format, file: file})
	return nil
}

func (d *documents) flag(cmd *cobra.Command, what string) {
	cmd.Flags().VarP(d, "output", "o", what+" as "+strings.Join(d.formats, ", ")+", on stdout or to a file: json="+what+".json; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(d.formats, cobra.ShellCompDirectiveNoSpace))
}

// write renders once per -o; without any, in the first format on stdout.
func (d *documents) write(e *env, render func(w io.Writer, format string, opts report.TextOptions) error) error {
	list := d.list
	if len(list) == 0 {
		list = []output{{format: d.formats[0]}}
	}
	for _, out := range list {
		var buf bytes.Buffer
		if err := render(&buf, out.format, e.textOptions(out)); err != nil {
			return fmt.Errorf("writing as %s: %w", out.format, err)
		}
		if out.file == "" || out.file == "-" {
			if _, err := e.stdout.Write(buf.Bytes()); err != nil {
				return environmentError(fmt.Errorf("writing: %w", err), "")
			}
			continue
		}
		if err := os.WriteFile(out.file, buf.Bytes(), 0o644); err != nil { //nolint:gosec // a forecast is for others to read
			return environmentError(fmt.Errorf("writing: %w", err), "")
		}
	}
	return nil
}
