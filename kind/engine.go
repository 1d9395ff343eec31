package kind

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kind/pkg/cluster"
)

const (
	// engineWithin bounds a question to an engine. One that answers does so in well under a second.
	engineWithin = 10 * time.Second
	repository   = "kindest/node"
)

// Error is something about this machine that stands in the way, and what to do about it.
type Error struct {
	What   string // a sentence without a full stop
	Remedy string // "" if none is known
}

func (e *Error) Error() string { return e.What }

// Engine is a container engine that answered.
type Engine struct {
	Name     string // docker or podman
	CgroupV1 bool   // its containers live in cgroup v1
	Rootless bool
	Root     string // where it keeps images and containers; on this machine only if Local
	Hostname string
	Kernel   string // the release of the kernel its containers run on
	// Network is the name of the network that kind puts nodes in.
	Network string
}

// Detect finds the container engine kind is going to use: prefer, or the first of docker and podman that answers. The
// error is an *Error that says of each why it is not.
func Detect(ctx context.Context, prefer string) (*Engine, error) {
	candidates := []string{"docker", "podman"}
	if prefer != "" {
		if !slices.Contains(candidates, prefer) {
			return nil, &Error{fmt.Sprintf("container engine %q is not one that podskew drives", prefer), "docker and podman are"}
		}
		candidates = []string{prefer}
	}
	var reasons, remedies []string
	for _, name := range candidates {
		e, err := ask(ctx, name)
		if err == nil {
			return e, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		reasons = append(reasons, name+": "+err.Error())
		if !errors.Is(err, errNotInstalled) {
			remedies = append(remedies, startIt(name))
		}
	}
	if len(remedies) == 0 {
		remedies = []string{"install Docker or Podman"}
	}
	return nil, &Error{"no container engine answers (" + strings.Join(reasons, "; ") + ")", strings.Join(remedies, "; ")}
}

func startIt(name string) string {
	if name == "podman" {
		return "\"podman info\" must work for this user"
	}
	return "start Docker (systemctl start docker), and let this user reach its socket (group docker, or DOCKER_HOST)"
}

var errNotInstalled = errors.New("not installed")

// ask asks one engine about itself.
func ask(ctx context.Context, name string) (*Engine, error) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, errNotInstalled
	}
	format := "{{json .}}"
	if name == "podman" {
		format = "json"
	}
	out, err := run(ctx, engineWithin, name, "info", "--format", format)
	if err != nil {
		return nil, err
	}
	if name == "podman" {
		return parsePodman(out)
	}
	return parseDocker(out)
}

func parseDocker(out []byte) (*Engine, error) {
	var info struct {
		ServerVersion, CgroupVersion, DockerRootDir, Name, KernelVersion string
		SecurityOptions                                                  []string
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, fmt.Errorf("reading what it says of itself: %w", err)
	}
	if info.ServerVersion == "" { // podman under docker's name, too
		return nil, errors.New("no Docker daemon behind it")
	}
	e := &Engine{
		Name: "docker", CgroupV1: info.CgroupVersion == "1", Root: info.DockerRootDir, Hostname: info.Name, Kernel: info.KernelVersion,
		Network: defaultNetwork,
	}
	for _, option := range info.SecurityOptions {
		e.Rootless = e.Rootless || slices.Contains(strings.Split(option, ","), "name=rootless")
	}
	return e, nil
}

func parsePodman(out []byte) (*Engine, error) {
	var info struct {
		Host struct {
			CgroupVersion, Hostname, Kernel string
			Security                        struct{ Rootless bool }
		}
		Store struct{ GraphRoot string }
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, fmt.Errorf("reading what it says of itself: %w", err)
	}
	return &Engine{
		Name: "podman", CgroupV1: info.Host.CgroupVersion == "v1", Rootless: info.Host.Security.Rootless,
		Root: info.Store.GraphRoot, Hostname: info.Host.Hostname, Kernel: info.Host.Kernel, Network: defaultNetwork,
	}, nil
}

// defaultNetwork is the name kind gives its network unless the environment says otherwise.
const defaultNetwork = "kind"

// provider is the library's side of the engine.
func (e *Engine) provider(l *logger) *cluster.Provider {
	option := cluster.ProviderWithDocker()
	if e.Name == "podman" {
		option = cluster.ProviderWithPodman()
	}
	return cluster.NewProvider(option, cluster.ProviderWithLogger(l))
}

// FindImage returns under which name the node image is here, "" if it is not. An image that was carried over with
// "docker load" has no digest, so its tag alone counts too.
func (e *Engine) FindImage(ctx context.Context, image string) string {
	tag, _, _ := strings.Cut(image, "@")
	for _, name := range slices.Compact([]string{image, tag}) {
		if _, err := run(ctx, engineWithin, e.Name, "inspect", "--type=image", "--format", "{{.Id}}", name); err == nil {
			return name
		}
	}
	return ""
}

// nodeImages lists the node images that are here, whatever their version.
func (e *Engine) nodeImages(ctx context.Context) []string {
	out, err := run(ctx, engineWithin, e.Name, "images", "--format", "{{.Repository}}:{{.Tag}}", repository)
	if err != nil {
		return nil
	}
	images := slices.DeleteFunc(strings.Fields(string(out)), func(s string) bool { return strings.HasSuffix(s, ":<none>") })
	slices.Sort(images)
	return slices.Compact(images)
}

// run runs a program and returns its standard output. The error has the program's last words in it.
func run(ctx context.Context, within time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return out.Bytes(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %v", within)
	}
	return nil, errors.New(cmp.Or(lastLine(said.String()), err.Error()))
}

// lastLine returns the last line with anything in it.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
