package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// labMachineWithin bounds what the lab does to a node; starting one takes 2 s on an idle machine.
const labMachineWithin = 60 * time.Second

// labMachines does to the nodes of a lab what no API server can, through the lab's own command line.
type labMachines struct {
	lab    labBinary
	runDir string // "": the default one
}

// KillNode implements cluster.Machines.
func (m labMachines) KillNode(ctx context.Context, node string) error {
	return m.change(ctx, "kill", node)
}

// StartNode implements cluster.Machines.
func (m labMachines) StartNode(ctx context.Context, node string) error {
	return m.change(ctx, "start", node)
}

// RestartProxy implements cluster.Machines.
func (m labMachines) RestartProxy(ctx context.Context, node string) error {
	return m.change(ctx, "restart-proxy", node)
}

func (m labMachines) change(ctx context.Context, action, node string) error {
	ctx, cancel := context.WithTimeout(ctx, labMachineWithin)
	defer cancel()
	args := []string{"node", action, node}
	if m.runDir != "" {
		args = append(args, "--run-dir", m.runDir)
	}
	cmd := exec.CommandContext(ctx, m.lab.path, args...) //nolint:gosec // our own binary
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to handle: a node that was begun on is finished
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the lab: %w", ctx.Err())
	}
	if text := strings.TrimPrefix(strings.TrimSpace(said.String()), "podskew-lab: error: "); text != "" {
		return errors.New("the lab: " + text)
	}
	return fmt.Errorf("the lab: %w", err)
}
