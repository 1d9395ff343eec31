package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cluster"
)

// stopTimeout bounds the orderly end of a lab; after it the kernel ends it.
const stopTimeout = 3 * time.Second

// Options say which lab to start.
type Options struct {
	RunDir    string // absolute path; made, and removed at the end
	Workers   int    // worker nodes, 1 to cluster.MaxWorkers
	ProxyMode string // cluster.NFTables or cluster.IPTables
	Images    []Image
	Mode      Mode
	Timeout   time.Duration     // for the whole start
	Step      func(text string) // is told about each step; it must not block
}

// Image is an image made of one binary of the machine.
type Image struct {
	Name      string   // as pods name it
	File      string   // on the machine
	Path      string   // inside the container
	Libraries []string // of a binary that is not static: what it needs to run, at these paths on the machine and inside
	ID        string   // "sha256:" and 64 hex digits; "": the digest of the contents
}

// Lab is a running lab. Close must be called.
type Lab struct {
	dir      *runDir
	cmd      *exec.Cmd
	lifeline *os.File
	events   chan cluster.Event // closed when the supervisor has ended
	exited   chan struct{}      // closed when process 1 has
}

// FailedError says that a lab could not be started or that it ended by itself.
type FailedError struct {
	Problem string
	Log     string // the end of the log that tells more, if there is one
}

// Error is the problem without the log.
func (e *FailedError) Error() string { return e.Problem }

// Start starts a lab and returns when it is ready. When ctx ends first, or the start fails, nothing is left.
func Start(ctx context.Context, o Options) (*Lab, error) {
	id, err := choose(ctx, o.Mode, o.ProxyMode)
	if err != nil {
		return nil, err
	}
	dir, err := claimRunDir(ctx, o.RunDir)
	if err != nil {
		return nil, err
	}
	o.Step(fmt.Sprintf("starting a lab: %d workers, kube-proxy in %s mode, %s", o.Workers, o.ProxyMode, id))
	lab, err := launch(ctx, o, id, dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if err := lab.awaitReady(ctx, o); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return lab, nil
}

// launch starts process 1 and tells the supervisor what to do. After an error nothing is left.
func launch(ctx context.Context, o Options, id identity, dir *runDir) (*Lab, error) {
	lab, config, err := dir.launch(ctx, o, id)
	if err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	if err := lab.configure(config); err != nil {
		return nil, errors.Join(err, lab.Close())
	}
	return lab, nil
}

// configuration is what the supervisor is to do, and where it reads that.
type configuration struct {
	cluster.Config
	to *os.File
}

func (r *runDir) launch(ctx context.Context, o Options, id identity) (*Lab, *configuration, error) {
	host, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, fmt.Errorf("listening for the API server: %w", err)
	}
	defer host.Close()
	config := &configuration{Config: cluster.Config{
		Workers: o.Workers, ProxyMode: o.ProxyMode, HostServer: "https://" + host.Addr().String(),
		IgnoreUser: id.singleUser(),
	}}
	files := &fileSet{}
	defer files.close()
	files.add(r.duplicateLock())
	config.to = files.pipe(false)
	files.add(host.File())
	events := files.pipe(true)
	files.add(r.listenControl())
	images := 0
	for _, image := range o.Images {
		files.add(os.Open(image.File))
		for _, path := range image.Libraries {
			files.add(os.Open(path))
		}
		images += 1 + len(image.Libraries)
		config.Images = append(config.Images, cluster.ImageFile{Name: image.Name, Path: image.Path, Libraries: image.Libraries, ID: image.ID})
	}
	if files.err != nil {
		return nil, nil, files.err
	}
	r.status = cluster.Status{
		State: cluster.StateStarting, RunDir: r.path, Mode: string(id.mode), ProxyMode: o.ProxyMode,
	}
	if err := r.writeState(r.status); err != nil {
		return nil, nil, err
	}
	lab, err := r.start(ctx, id, files.files, images)
	if err != nil {
		return nil, nil, fmt.Errorf("starting the lab's first process: %w", err)
	}
	lab.events = make(chan cluster.Event)
	lab.exited = make(chan struct{})
	go func() { _ = lab.cmd.Wait(); close(lab.exited) }()
	go readEvents(events, lab.events)
	return lab, config, nil
}

// configure sends the configuration; a supervisor that does not read it says why in its log.
func (l *Lab) configure(c *configuration) error {
	if err := errors.Join(json.NewEncoder(c.to).Encode(c.Config), c.to.Close()); err != nil {
		return errors.Join(l.supervisorGone(), err)
	}
	return nil
}

// start starts process 1 in the run directory, which it then finds as its working directory: handing over a path
// would not do, because the root of a user namespace may not be able to follow it.
func (r *runDir) start(ctx context.Context, id identity, files []*os.File, images int) (*Lab, error) {
	if id.mode == UserNS {
		if err := os.Chown(r.path, usernsBase, usernsBase); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(r.file(labLogName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	back, err := os.Open(".")
	if err != nil {
		return nil, err
	}
	defer back.Close()
	if err := os.Chdir(r.path); err != nil {
		return nil, err
	}
	cmd, lifeline, err := spawn(ctx, id, log, files, boot.RolePid1, strconv.Itoa(images))
	if err := errors.Join(err, back.Chdir()); err != nil {
		return nil, err
	}
	return &Lab{dir: r, cmd: cmd, lifeline: lifeline}, nil
}

// readEvents passes the supervisor's events on until it has ended. The reader of the channel must read to the end.
func readEvents(from *os.File, to chan<- cluster.Event) {
	defer close(to)
	defer from.Close()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event cluster.Event
		if json.Unmarshal(lines.Bytes(), &event) == nil {
			to <- event
		}
	}
}

func (l *Lab) awaitReady(ctx context.Context, o Options) error {
	waiting := ""
	for {
		select {
		case <-ctx.Done():
			return l.notReady(ctx, o, waiting)
		case event, ok := <-l.events:
			switch {
			case !ok:
				return l.supervisorGone()
			case event.Kind == cluster.EventStep:
				o.Step(event.Text)
			case event.Kind == cluster.EventWaiting:
				waiting = event.Text
			case event.Kind == cluster.EventFailed:
				return &FailedError{Problem: event.Text, Log: event.Log}
			case event.Kind == cluster.EventReady:
				return nil
			}
		}
	}
}

func (l *Lab) notReady(ctx context.Context, o Options, waiting string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return &FailedError{Problem: fmt.Sprintf("the lab was not ready after %s; it was waiting for %s", o.Timeout, waiting)}
}

// supervisorGone is the error for a supervisor that ended without a word.
func (l *Lab) supervisorGone() error {
	data, _ := os.ReadFile(l.dir.file(labLogName))
	const most = 4 << 10
	return &FailedError{
		Problem: "the lab's supervisor ended unexpectedly", Log: string(data[max(0, len(data)-most):]),
	}
}

// Kubeconfig is the path of the file that gives the caller all rights in the cluster.
func (l *Lab) Kubeconfig() string { return l.dir.file(cluster.KubeconfigName) }

// Wait returns when ctx ends, with its error, or when the lab ends by itself, with a FailedError.
func (l *Lab) Wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-l.events:
			switch {
			case !ok:
				return l.supervisorGone()
			case event.Kind == cluster.EventFailed:
				return &FailedError{Problem: event.Text, Log: event.Log}
			}
		}
	}
}

// LogFile is the file that a launching process without a terminal may write to. It goes with the lab.
func (l *Lab) LogFile() string { return l.dir.file(labLogName) }

// Close ends the lab, waits until every process of it has ended, and removes the run directory.
func (l *Lab) Close() error {
	l.end()
	return l.dir.remove()
}

// Abandon is Close for a lab that has failed while nobody was looking: it leaves a note of the reason, which Inspect
// finds, and nothing else.
func (l *Lab) Abandon(reason *FailedError) error {
	l.end()
	boot.EmptyRunDir(l.dir.path)
	status := l.dir.status
	status.State, status.Problem, status.Log = cluster.StateFailed, reason.Problem, reason.Log
	return errors.Join(l.dir.writeState(status), l.dir.lock.Close())
}

// end ends every process of the lab.
func (l *Lab) end() {
	_ = l.lifeline.Close()
	go func() {
		for range l.events { // what the supervisor still says no longer matters
		}
	}()
	select {
	case <-l.exited:
	case <-time.After(stopTimeout):
		_ = l.cmd.Process.Kill()
		<-l.exited
	}
}

// fileSet collects files that a child is to inherit, and the first error in doing so.
type fileSet struct {
	files []*os.File
	err   error
}

func (s *fileSet) add(f *os.File, err error) {
	if err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	s.files = append(s.files, f)
}

// pipe adds one end of a new pipe, the writing one if the child writes, and returns the other.
func (s *fileSet) pipe(childWrites bool) *os.File {
	r, w, err := os.Pipe()
	if childWrites {
		r, w = w, r
	}
	s.add(r, err)
	return w
}

func (s *fileSet) close() {
	for _, f := range s.files {
		_ = f.Close()
	}
}

// DefaultRunDir is where a lab keeps its files unless told otherwise: one place per user, gone after a reboot.
func DefaultRunDir(runtimeDir string) string {
	if runtimeDir != "" {
		return filepath.Join(runtimeDir, "podskew-lab")
	}
	return filepath.Join(os.TempDir(), "podskew-lab-"+strconv.Itoa(os.Getuid()))
}
