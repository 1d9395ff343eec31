package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// The exit codes scripts rely on.
const (
	exitOK          = 0
	exitExpectation = 1   // an expectation failed
	exitUsage       = 2   // usage, or a scenario or record that is not valid
	exitEnvironment = 3   // cluster, image, agent: nothing was learned about the Service
	exitInterrupted = 130 // Ctrl-C; what was measured is kept
)

var errInterrupted = errors.New("interrupted")

// exitError gives an error its exit code and, where the next step is known, a hint.
type exitError struct {
	err  error
	code int
	hint string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake of the caller: exit code 2.
func usageError(format string, args ...any) error {
	return &exitError{err: fmt.Errorf(format, args...), code: exitUsage}
}

// environmentError is a failure of what podskew needs around it: exit code 3.
func environmentError(err error, hint string) error {
	return &exitError{err: err, code: exitEnvironment, hint: hint}
}

// errExpectation ends a run whose report is already printed.
var errExpectation = &exitError{err: errors.New("an expectation failed"), code: exitExpectation}

// exitCode reports an error on stderr once and returns the exit code it stands for.
func exitCode(ctx context.Context, stderr io.Writer, err error) int {
	interrupted := errors.Is(context.Cause(ctx), errInterrupted) || errors.Is(err, errInterrupted)
	switch {
	case err == nil && !interrupted:
		return exitOK
	case interrupted:
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted) && !errors.Is(err, errExpectation) {
			complain(stderr, err)
		}
		_, _ = fmt.Fprintln(stderr, "podskew: interrupted")
		return exitInterrupted
	case errors.Is(err, errExpectation):
		return exitExpectation
	}
	complain(stderr, err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitEnvironment
}

func complain(stderr io.Writer, err error) {
	_, _ = fmt.Fprintf(stderr, "podskew: error: %v\n", err)
	if e, ok := errors.AsType[*exitError](err); ok && e.hint != "" {
		_, _ = fmt.Fprintf(stderr, "podskew: hint: %s\n", e.hint)
	}
}
