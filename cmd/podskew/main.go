// Command podskew tells which pods get their Service's traffic, and why.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// env is everything the program takes from its process. Only main fills it in.
type env struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	stdoutTerminal bool                       // colour and width follow the terminal
	stderrTerminal bool                       // progress may redraw its line
	width          int                        // columns of stdout's terminal, 0 if it is none
	stderrSize     func() (columns, rows int) // of stderr's terminal, as it is now; nil: not known
	getenv         func(string) string
	executable     string // path of the running binary; its siblings are podskew-lab and podskew-pod
}

func main() {
	e := env{
		args:           os.Args[1:],
		stdin:          os.Stdin,
		stdout:         os.Stdout,
		stderr:         os.Stderr,
		stdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		stderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		getenv:         os.Getenv,
	}
	if e.stdoutTerminal {
		e.width, _, _ = term.GetSize(int(os.Stdout.Fd()))
	}
	e.stderrSize = func() (columns, rows int) {
		columns, rows, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil {
			return 80, 24
		}
		return columns, rows
	}
	e.executable, _ = os.Executable()
	ctx, stop := interruptible()
	code := e.main(ctx)
	stop()
	os.Exit(code)
}

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP ends with the cause
// errInterrupted. The second one ends the process at once, without cleaning up.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n == 1 {
					_, _ = io.WriteString(os.Stderr, "podskew: interrupted twice: nothing was cleaned up; \"podskew clean\" removes what is left\n")
					os.Exit(exitInterrupted)
				}
				cancel(errInterrupted)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
