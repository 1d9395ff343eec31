package cri

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StartContainer starts the process and returns when its program runs. A program that cannot be started leaves the
// container exited with the reason.
func (s *Server) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if err := c.claimStart(); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err := s.start(ctx, c); err != nil {
		c.failed(err)
		return nil, statusError(fmt.Errorf("starting container %s: %w", c.config.GetMetadata().GetName(), err))
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

// claimStart makes sure that a container is started once.
func (c *container) claimStart() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starting || c.removed || c.state != runtimeapi.ContainerState_CONTAINER_CREATED {
		return fmt.Errorf("container %q was started or removed before", c.id)
	}
	c.starting = true
	return nil
}

// failed records that the program could not be started, as container engines do.
func (c *container) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = false
	c.state = runtimeapi.ContainerState_CONTAINER_EXITED
	c.startedAt = time.Now()
	c.finished = c.startedAt
	c.exitCode, c.reason, c.message = 128, "StartError", err.Error()
	close(c.started)
	close(c.exited)
}

// running records the process and has it waited for.
func (c *container) running(process *os.Process, io *stdio) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = false
	c.state = runtimeapi.ContainerState_CONTAINER_RUNNING
	c.startedAt = time.Now()
	c.process, c.stdio = process, io
	close(c.started)
	go c.wait(process, io) // ends with the process, which stop and shutdown see to
}

// wait records how the process ended.
func (c *container) wait(process *os.Process, io *stdio) {
	state, err := process.Wait()
	io.finish() // the log is complete before anyone learns of the end
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process = nil
	c.state = runtimeapi.ContainerState_CONTAINER_EXITED
	c.finished = time.Now()
	c.exitCode, c.reason = 255, "Error"
	if err != nil {
		c.message = fmt.Sprintf("waiting for the process: %v", err)
	} else if c.exitCode = exitCode(state); c.exitCode == 0 {
		c.reason = "Completed"
	}
	close(c.exited)
}

// exitCode returns the process's own, or 128 plus the number of the signal that killed it.
func exitCode(state *os.ProcessState) int32 {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int32(ws.Signal())
	}
	return int32(state.ExitCode())
}

// StopContainer asks the process to end, waits for the timeout, and kills it. Unknown and ended ones are fine.
func (s *Server) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	if c := s.findContainer(req.GetContainerId()); c != nil {
		if err := c.stop(ctx, time.Duration(req.GetTimeout())*time.Second); err != nil {
			return nil, statusError(err)
		}
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// stop ends a container that runs or is about to; with a grace of 0 it is killed at once. When ctx ends first the
// container may still run.
func (c *container) stop(ctx context.Context, grace time.Duration) error {
	c.mu.Lock()
	starting, process := c.starting, c.process
	c.mu.Unlock()
	if starting {
		select {
		case <-c.started:
		case <-ctx.Done():
			return fmt.Errorf("stopping container %q while it starts: %w", c.id, ctx.Err())
		}
		c.mu.Lock()
		process = c.process
		c.mu.Unlock()
	}
	if process == nil {
		return nil
	}
	if grace > 0 {
		// An error means that it has ended already, which exited tells.
		_ = process.Signal(stopSignal(c.config.GetStopSignal()))
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.exited:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stopping container %q: %w", c.id, ctx.Err())
		case <-timer.C:
		}
	}
	c.kill(process)
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("killing container %q: %w", c.id, ctx.Err())
	}
}

// kill kills all processes of the container: process 1 of a PID namespace takes the others with it. In the node's own
// it is the session that goes.
func (c *container) kill(process *os.Process) {
	if c.hostPID() && process.Signal(syscall.Signal(0)) == nil {
		_ = unix.Kill(-process.Pid, unix.SIGKILL)
	}
	_ = process.Kill() // an error means that it has ended
}

// RemoveContainer kills the container if it runs and forgets it. Unknown ids are fine.
func (s *Server) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	if c := s.findContainer(req.GetContainerId()); c != nil {
		if err := s.removeContainer(ctx, c); err != nil {
			return nil, statusError(err)
		}
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// removeContainer leaves the log file: it is the kubelet's to remove.
func (s *Server) removeContainer(ctx context.Context, c *container) error {
	c.mu.Lock()
	c.removed = true // no start from here on
	c.mu.Unlock()
	if err := c.stop(ctx, 0); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the container's directory: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
	return nil
}
