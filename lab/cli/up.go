package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/lab/cluster"
	"github.com/podskew/podskew/lab/launch"
)

// Every pod of podskew itself runs this image; its binary lies beside the lab's.
const (
	ownImage  = "podskew.dev/pod:dev"
	ownBinary = "podskew-pod"
)

// upFlags are the flags of up as they were typed.
type upFlags struct {
	workers    int
	proxyMode  string
	mode       string
	images     []string
	timeout    time.Duration
	parentFD   int
	detach     bool
	background bool // this is the process that up --detach leaves behind
}

func (a *app) up() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a lab and print the path of its kubeconfig when it is ready",
		Long: `Start a lab and print the path of its kubeconfig when it is ready.

The lab runs until up is interrupted, or with --detach until "podskew-lab down". Nothing of it is left afterwards.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.runUp(c.Context(), f) },
	}
	flags := c.Flags()
	flags.IntVar(&f.workers, "workers", 3, "worker nodes, in zones a, b, c by turns")
	flags.StringVar(&f.proxyMode, "proxy-mode", cluster.NFTables, "mode of kube-proxy: nftables or iptables")
	flags.StringVar(&f.mode, "mode", string(launch.Auto), "rights to run with: auto, rootless, userns or root")
	flags.StringArrayVar(&f.images, "image", nil,
		"add an image made of one static binary, as NAME=PATH[:CONTAINER-PATH]; can be repeated")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long the start may take")
	flags.BoolVar(&f.detach, "detach", false, "return when the lab is ready and leave it running")
	flags.IntVar(&f.parentFD, "parent-fd", -1, "end the lab when this inherited descriptor reaches its end of file")
	flags.BoolVar(&f.background, "background", false, "")
	_ = flags.MarkHidden("background")
	return c
}

func (a *app) runUp(ctx context.Context, f upFlags) error {
	options, err := a.options(f)
	if err != nil {
		return usageError{err}
	}
	if f.detach {
		return a.detach(ctx)
	}
	ctx, signals := notifySignals(ctx)
	defer signals.stop()
	if f.parentFD >= 0 {
		syscall.CloseOnExec(f.parentFD)
		parent := os.NewFile(uintptr(f.parentFD), "parent")
		go func() {
			_, _ = io.Copy(io.Discard, parent)
			if f.background && signals.ready() {
				return // whoever started a lab in the background may go
			}
			signals.end(errParentGone)
		}()
	}
	lab, err := launch.Start(ctx, options)
	if err != nil {
		return startError(ctx, err)
	}
	fmt.Fprintln(a.Stdout, lab.Kubeconfig())
	if f.background {
		signals.setReady()
		if err := a.leaveTerminal(lab.LogFile()); err != nil {
			return errors.Join(err, lab.Close())
		}
	} else {
		a.say("ready; the lab runs until it is interrupted")
	}
	err = endError(ctx, lab.Wait(ctx))
	if failed, ok := errors.AsType[*launch.FailedError](err); ok && f.background {
		return errors.Join(err, lab.Abandon(failed))
	}
	return errors.Join(err, lab.Close())
}

// startError says why a start that failed did.
func startError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	return err
}

// endError is nil for an end that was asked for.
func endError(ctx context.Context, err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	if errors.Is(context.Cause(ctx), errSIGINT) {
		return errInterrupted
	}
	return nil
}

// detach starts the same command in the background and returns when its lab is ready.
func (a *app) detach(ctx context.Context) error {
	lifeline, lifelineEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lifelineEnd.Close()
	output, outputEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer output.Close()
	args := []string{"podskew-lab"}
	for _, arg := range a.Args {
		if arg != "--detach" && !strings.HasPrefix(arg, "--detach=") {
			args = append(args, arg)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	args = append(args, "--background", "--parent-fd=3")
	process, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Env: a.Env, Files: []*os.File{null, outputEnd, a.Stderr, lifeline},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	_, _ = outputEnd.Close(), lifeline.Close()
	if err != nil {
		return err
	}
	return a.awaitBackground(ctx, process, output)
}

// awaitBackground passes on the path that the background process prints when it is ready. An interrupt ends it.
func (a *app) awaitBackground(ctx context.Context, process *os.Process, output io.Reader) error {
	ctx, signals := notifySignals(ctx)
	defer signals.stop()
	defer context.AfterFunc(ctx, func() { _ = process.Signal(syscall.SIGINT) })()
	path, err := io.ReadAll(output)
	if err == nil && len(path) > 0 {
		_, err = a.Stdout.Write(path)
		return err
	}
	state, err := process.Wait()
	if err != nil {
		return err
	}
	a.code = state.ExitCode() // it has said why
	return nil
}

// leaveTerminal closes the standard output and turns the standard error to a file, so that whoever waits for the end
// of either is not kept waiting by a lab in the background.
func (a *app) leaveTerminal(logFile string) error {
	log, err := os.OpenFile(logFile, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, f := range []*os.File{a.Stdout, a.Stderr} {
		if err := syscall.Dup3(int(log.Fd()), int(f.Fd()), 0); err != nil {
			return err
		}
	}
	return nil
}

// options checks what was typed.
func (a *app) options(f upFlags) (launch.Options, error) {
	o := launch.Options{
		RunDir: a.runDir, Workers: f.workers, ProxyMode: f.proxyMode, Mode: launch.Mode(f.mode), Timeout: f.timeout,
		Step: func(text string) { a.say("%s", text) },
	}
	if f.workers < 1 || f.workers > cluster.MaxWorkers {
		return o, fmt.Errorf("--workers %d: want 1 to %d", f.workers, cluster.MaxWorkers)
	}
	if err := oneOf("--proxy-mode", f.proxyMode, cluster.NFTables, cluster.IPTables); err != nil {
		return o, err
	}
	var modes []string
	for _, m := range launch.Modes() {
		modes = append(modes, string(m))
	}
	if err := oneOf("--mode", f.mode, modes...); err != nil {
		return o, err
	}
	if f.timeout <= 0 {
		return o, fmt.Errorf("--timeout %s: want more than 0", f.timeout)
	}
	var err error
	o.Images, err = a.parseImages(f.images)
	return o, err
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s %s: want %s", flag, value, strings.Join(allowed, " or "))
}

// parseImages returns the images of the flags and podskew's own.
func (a *app) parseImages(flags []string) ([]launch.Image, error) {
	var images []launch.Image
	own := false
	for _, flag := range flags {
		image, err := parseImage(flag)
		if err != nil {
			return nil, err
		}
		own = own || image.Name == ownImage
		images = append(images, image)
	}
	self, err := os.Executable()
	if err != nil {
		return images, err
	}
	file := filepath.Join(filepath.Dir(self), ownBinary)
	if _, err := os.Stat(file); err == nil && !own {
		images = append(images, launch.Image{Name: ownImage, File: file, Path: "/" + ownBinary})
	}
	return append(images, proxyImages(filepath.Dir(self), images)...), nil
}

// parseImage reads NAME=PATH[:CONTAINER-PATH]; the path in the container is / and the file's name unless given.
func parseImage(flag string) (launch.Image, error) {
	name, rest, found := strings.Cut(flag, "=")
	file, path, _ := strings.Cut(rest, ":")
	if !found || name == "" || file == "" {
		return launch.Image{}, fmt.Errorf("--image %s: want NAME=PATH[:CONTAINER-PATH]", flag)
	}
	if path == "" {
		path = "/" + filepath.Base(file)
	}
	if !filepath.IsAbs(path) {
		return launch.Image{}, fmt.Errorf("--image %s: the path in the container must begin with /", flag)
	}
	info, err := os.Stat(file)
	if err != nil {
		return launch.Image{}, fmt.Errorf("--image %s: %w", flag, err)
	}
	if !info.Mode().IsRegular() {
		return launch.Image{}, fmt.Errorf("--image %s: %s is not a file", flag, file)
	}
	file, err = filepath.Abs(file)
	return launch.Image{Name: name, File: file, Path: path}, err
}

// Reasons for an end.
var (
	errSIGINT     = errors.New("interrupt")
	errSIGTERM    = errors.New("terminated")
	errParentGone = errors.New("the parent process ended")
)

// signals ends a context when the process is asked to end.
type signals struct {
	end     context.CancelCauseFunc
	channel chan os.Signal
	isReady chan struct{}
}

// notifySignals returns a context that ends with errSIGINT or errSIGTERM.
func notifySignals(ctx context.Context) (context.Context, *signals) {
	ctx, end := context.WithCancelCause(ctx)
	s := &signals{end: end, channel: make(chan os.Signal, 1), isReady: make(chan struct{})}
	signal.Notify(s.channel, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if got, ok := <-s.channel; ok && got == syscall.SIGINT {
			end(errSIGINT)
		}
		end(errSIGTERM)
	}()
	return ctx, s
}

// stop gives the signals their default effect back, so that a second Ctrl-C ends a process that hangs while ending.
func (s *signals) stop() {
	signal.Stop(s.channel)
	close(s.channel)
}

func (s *signals) setReady() { close(s.isReady) }

func (s *signals) ready() bool {
	select {
	case <-s.isReady:
		return true
	default:
		return false
	}
}
