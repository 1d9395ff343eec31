package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/echo"
)

// podInfoDir is where the Downward API volume is mounted by convention.
const podInfoDir = "/etc/podinfo"

func newEchoCommand() *cobra.Command {
	var o echo.Options
	var token, tokenFile string
	cmd := &cobra.Command{
		Use:   "echo",
		Short: "Say who answered",
		Long: `echo answers every request with the pod, node and zone that served it, the client address the pod saw, and the numbers
of the connection and of the request on it: as headers (X-Podskew-Pod and others) and as JSON.

It speaks, each the same with the same answer:
  --listen      HTTP/1.1, HTTP/2 without TLS, gRPC (podskew.v1alpha1.Echo and grpc.health.v1.Health) and, on /ws,
                WebSockets, where every message is answered
  --listen-tls  the same inside TLS, with a certificate made at the start that nobody has reason to trust
  --listen-tcp  a line of JSON for every connection, and for every line sent after that
  --listen-udp  a datagram of JSON for every datagram that is empty or holds a request id (up to 128 printable
                characters without blanks), which comes back as requestID

Query parameters change the answer: delay=50ms, status=503, fail=0.1 (that share gets the status), close=true,
size=BYTES. Further pages: /healthz, /readyz, /slow, /stats, /metrics, /labels. /stats lists connections, 10,000 at a time:
?from=INDEX goes on, ?limit=ROWS asks for more or fewer, ?rows=compact leaves everything else out.

Who it is, it takes from the environment (POD_NAME, NODE_NAME, ..., which the manifest fills from the Downward API) and
from the volume with the pod's labels and annotations. On SIGTERM it serves on for the grace period, ready, and then drains.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTimes(o); err != nil {
				return err
			}
			if !cmd.Flags().Changed("pod-info") {
				o.PodInfo = existing(o.PodInfo)
			}
			var err error
			if o.Token, err = readToken(token, tokenFile); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.Identity = echo.ReadIdentity(os.LookupEnv)
			o.CPULimit = echo.ReadCPULimit(os.DirFS("/"))
			o.Logger = slog.New(slog.NewJSONHandler(cmd.OutOrStdout(), nil))
			return echo.New(o).Run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", ":8080", "address to listen on for HTTP; empty for none, as with the other three")
	flags.StringVar(&o.ListenTLS, "listen-tls", ":8443", "address to listen on for HTTP inside TLS")
	flags.StringVar(&o.ListenTCP, "listen-tcp", ":9000", "address to listen on for lines over TCP")
	flags.StringVar(&o.ListenUDP, "listen-udp", ":8080", "address to listen on for datagrams")
	flags.StringVar(&o.PodInfo, "pod-info", podInfoDir, "folder of the Downward API volume with labels and annotations; empty for none, as is the default if there is no such folder")
	flags.BoolVar(&o.ProxyProtocol, "proxy-protocol", false, "believe PROXY protocol preambles; only where nobody but a load balancer can connect, for anybody can send one")
	flags.IntVar(&o.MaxConnections, "max-connections", echo.DefaultMaxConnections, "connections at a time; more are reset")
	flags.DurationVar(&o.IdleTimeout, "idle-timeout", echo.DefaultIdleTimeout, "close connections that are idle for this long")
	flags.DurationVar(&o.Grace, "grace", echo.DefaultGrace, "time to serve on after SIGTERM; with --drain it must stay below the pod's terminationGracePeriodSeconds")
	flags.DurationVar(&o.Drain, "drain", echo.DefaultDrain, "time for requests under way to end after that")
	flags.StringVar(&token, "token", "", "token that requests must carry in X-Podskew-Token to flip readiness (/readyz) or to slow the server (/slow); visible to others on the machine, prefer --token-file")
	flags.StringVar(&tokenFile, "token-file", "", "file with that token; without a token nobody can do either")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of the failures that fail=SHARE asks for")
	flags.BoolVar(&o.LogRequests, "log-requests", false, "log every request")
	cmd.MarkFlagsMutuallyExclusive("token", "token-file")
	return cmd
}

// existing returns dir, or "" if it does not exist.
func existing(dir string) string {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return dir
}

// checkTimes rejects what no server could keep to.
func checkTimes(o echo.Options) error {
	if o.Grace < 0 || o.Drain < 0 || o.IdleTimeout <= 0 || o.MaxConnections <= 0 {
		return errors.New("--grace and --drain must not be negative, --idle-timeout and --max-connections must be positive")
	}
	return nil
}

// readToken returns the token from wherever it was given.
func readToken(token, file string) (string, error) {
	if file == "" {
		return token, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	if token = strings.TrimSpace(string(text)); token == "" {
		return "", fmt.Errorf("reading the token: %s is empty", file)
	}
	return token, nil
}
