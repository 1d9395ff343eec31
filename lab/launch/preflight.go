package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/podskew/podskew/lab/cluster"
)

// probeTimeout bounds the trial of one identity.
const probeTimeout = 10 * time.Second

// memoryWanted is what three workers and some pods take, in KiB.
const memoryWanted = 1 << 20

// Finding is one thing that a lab needs from the machine.
type Finding struct {
	What     string // the thing
	Required bool   // a lab does not work without it
	Problem  string // why it is not there; empty: it is
	Remedy   string // how to get it
}

// UnfitError says that the machine cannot run a lab.
type UnfitError struct {
	Findings []Finding // what is missing
}

// Error names what is missing.
func (e *UnfitError) Error() string {
	var missing []string
	for _, f := range e.Findings {
		if f.Required && f.Problem != "" {
			missing = append(missing, f.What)
		}
	}
	return "this machine cannot run a lab yet; missing: " + strings.Join(missing, ", ")
}

// Preflight finds out with which rights a lab can run, and returns them in words with everything it looked at. The
// error is an UnfitError if there is no way.
func Preflight(ctx context.Context, mode Mode, proxyMode string) (string, []Finding, error) {
	id, findings, err := examine(ctx, mode, proxyMode)
	return id.String(), findings, err
}

// choose returns the identity with the fewest rights that works.
func choose(ctx context.Context, mode Mode, proxyMode string) (identity, error) {
	id, _, err := examine(ctx, mode, proxyMode)
	return id, err
}

func examine(ctx context.Context, mode Mode, proxyMode string) (identity, []Finding, error) {
	tries, err := candidates(mode)
	if err != nil {
		return identity{}, nil, err
	}
	general := append(toolFindings(proxyMode), memoryFinding())
	if !fit(general) {
		return identity{}, nil, &UnfitError{Findings: general}
	}
	all := general
	for _, id := range tries {
		tried := tryOut(ctx, id, proxyMode)
		if err := ctx.Err(); err != nil {
			return identity{}, nil, err
		}
		if fit(tried) {
			return id, slices.Concat(general, tried), nil
		}
		for _, f := range tried {
			f.What = id.String() + ": " + f.What
			all = append(all, f)
		}
	}
	return identity{}, nil, &UnfitError{Findings: all}
}

func fit(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return f.Required && f.Problem != "" })
}

// tools are the programs of the machine that Kubernetes runs, with the package that has them.
func tools(proxyMode string) map[string]string {
	needed := map[string]string{"mount": "mount (util-linux)", "umount": "mount (util-linux)"}
	if proxyMode == cluster.IPTables {
		for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
			needed[name] = "iptables"
		}
		return needed
	}
	needed["nft"] = "nftables"
	return needed
}

func toolFindings(proxyMode string) []Finding {
	path := searchPath(os.Getenv("PATH"))
	needed := tools(proxyMode)
	var findings []Finding
	for _, name := range sortedKeys(needed) {
		f := Finding{What: "the program " + name, Required: true}
		if !inPath(path, name) {
			f.Problem = "not found in " + path
			f.Remedy = fmt.Sprintf("install the package %s, with apt-get install, dnf install or apk add", needed[name])
			if name == "nft" {
				f.Remedy += "; or use --proxy-mode iptables if iptables is installed"
			}
		}
		findings = append(findings, f)
	}
	return findings
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func inPath(path, name string) bool {
	return slices.ContainsFunc(filepath.SplitList(path), func(dir string) bool {
		_, err := exec.LookPath(filepath.Join(dir, name))
		return err == nil
	})
}

// memoryFinding warns only: what is free now need not be what is free later.
func memoryFinding() Finding {
	f := Finding{What: "1 GiB of free memory"}
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return f
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		if free, err := strconv.Atoi(fields[1]); err == nil && free < memoryWanted {
			f.Problem = fmt.Sprintf("only %d MiB are available", free>>10)
			f.Remedy = "end other programs, or start fewer workers"
		}
	}
	return f
}

// tryOut makes the namespaces of a lab for the identity and tries out in them what a lab does.
func tryOut(ctx context.Context, id identity, proxyMode string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	namespaces := Finding{What: "namespaces", Required: true}
	findings, err := probe(ctx, id, proxyMode)
	if err != nil {
		namespaces.Problem = err.Error()
		namespaces.Remedy = namespaceRemedy(id, err, readSetting)
	}
	return append([]Finding{namespaces}, findings...)
}

// probe runs the role of the same name in the namespaces of a lab.
func probe(ctx context.Context, id identity, proxyMode string) ([]Finding, error) {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	var output strings.Builder
	cmd, lifeline, err := spawn(ctx, id, &output, []*os.File{reportEnd}, RoleProbe, proxyMode)
	_ = reportEnd.Close()
	if err != nil {
		return nil, err
	}
	defer lifeline.Close()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	var findings []Finding
	decodeErr := json.NewDecoder(report).Decode(&findings)
	if err := cmd.Wait(); err != nil || decodeErr != nil {
		return findings, fmt.Errorf("the trial failed: %w %s", errors.Join(err, decodeErr), strings.TrimSpace(output.String()))
	}
	return findings, nil
}

// namespaceRemedy guesses from the kernel's settings why the namespaces could not be had.
func namespaceRemedy(id identity, err error, setting func(path string) string) string {
	if id.mode == Root {
		return "root without the right to make namespaces: in a container, run it with --privileged"
	}
	switch {
	case setting("user/max_user_namespaces") == "0":
		return "user namespaces are switched off; switch them on with: sudo sysctl user.max_user_namespaces=15000"
	case setting("kernel/unprivileged_userns_clone") == "0" && id.mode == Rootless:
		return "user namespaces are for root only; change that with: sudo sysctl kernel.unprivileged_userns_clone=1; or run this with sudo"
	case setting("kernel/apparmor_restrict_unprivileged_userns") == "1" && id.mode == Rootless:
		return "AppArmor takes the rights from user namespaces; change that with: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; or run this with sudo"
	case errors.Is(err, syscall.ENOSPC):
		return "the limit of namespaces is reached; raise user.max_user_namespaces and its neighbours with sysctl"
	case id.mode == Rootless:
		return "run this with sudo; in a container, run the container with --privileged, because its seccomp profile forbids namespaces"
	default:
		return "in a container, run it with --privileged"
	}
}

// readSetting returns a kernel setting, or nothing where the kernel does not have it.
func readSetting(path string) string {
	data, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
