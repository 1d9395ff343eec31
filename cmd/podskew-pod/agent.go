package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/loadgen"
)

const (
	// headerWithin is how long a client may take to send the head of a request.
	headerWithin = 10 * time.Second
	// idleWithin is how long the API server's proxy may keep a connection it does not use.
	idleWithin = 2 * time.Minute
	// endWithin is how long plans may take to end once they are interrupted.
	endWithin = 5 * time.Second
)

type agentOptions struct {
	listen         string
	tokenFile      string
	targetsFile    string
	maxLifetime    time.Duration
	maxConnections int
	addSources     bool
}

func newAgentCommand() *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run load plans that are posted to it, and stream back what was measured",
		Long: `agent is a source of load inside a cluster. It takes plans over HTTP (POST /v1/run) from whoever has the run's token
(header X-Podskew-Token), dials nothing but the addresses on its list, and ends by itself after its lifetime.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return o.run(ctx, slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil)))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", ":8090", "address to listen on")
	flags.StringVar(&o.tokenFile, "token-file", "/etc/podskew/token", "file with the token that requests must carry")
	flags.StringVar(&o.targetsFile, "targets-file", "/etc/podskew/targets", "file with the addresses that may be dialled, one host:port per line; read again for every request")
	flags.DurationVar(&o.maxLifetime, "max-lifetime", 30*time.Minute, "end after this time, whatever is running")
	flags.IntVar(&o.maxConnections, "max-connections", 10_000, "concurrent connections over all plans")
	flags.BoolVar(&o.addSources, "add-sources", false, "add source addresses that plans ask for to this machine's interface while they run (needs NET_ADMIN)")
	return cmd
}

func (o agentOptions) run(ctx context.Context, log *slog.Logger) error {
	if o.maxLifetime <= 0 || o.maxConnections < 1 {
		return errors.New("--max-lifetime and --max-connections must be positive")
	}
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	deadline := time.Now().Add(o.maxLifetime)
	agent, err := loadgen.NewAgent(loadgen.AgentConfig{
		Token: strings.TrimSpace(string(token)), Targets: o.targets, MaxConnections: o.maxConnections, AddSources: o.addSources, Deadline: deadline, Logger: log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, fmt.Errorf("its lifetime of %s is over", o.maxLifetime))
	defer cancel()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", o.listen, err)
	}
	return serveAgent(ctx, agent, listener, log)
}

// targets reads the list as it is now.
func (o agentOptions) targets() ([]string, error) {
	file, err := os.Open(o.targetsFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return loadgen.ReadTargets(file)
}

// serveAgent serves until ctx ends; then plans end as interrupted, with their results sent.
func serveAgent(ctx context.Context, agent *loadgen.Agent, listener net.Listener, log *slog.Logger) error {
	server := &http.Server{
		Handler: agent, ReadHeaderTimeout: headerWithin, IdleTimeout: idleWithin,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("agent is ready", "address", listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	log.Info("agent ends", "reason", context.Cause(ctx).Error())
	agent.Interrupt()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	err := server.Shutdown(ending)
	if err != nil {
		err = errors.Join(fmt.Errorf("ending plans: %w", err), server.Close())
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serving: %w", served))
	}
	return err
}
