package launch

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podskew/podskew/lab/boot"
)

// spawn starts a role of this binary as process 1 of new namespaces. files become the descriptors from 4 on; the
// returned lifeline is the writing end of descriptor 3, whose end of file the role may take as the order to end.
func spawn(ctx context.Context, id identity, output io.Writer, files []*os.File, role ...string) (*exec.Cmd, *os.File, error) {
	lifeline, lifelineEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer lifeline.Close()
	if id.hasRanges() {
		role = append([]string{boot.RoleRemap}, role...)
	}
	cmd := exec.Command(boot.Self, role...) //nolint:noctx // ctx bounds the start; the process lives on
	cmd.Args[0] = "podskew-lab"
	cmd.Env = []string{"PATH=" + searchPath(os.Getenv("PATH"))}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = append([]*os.File{lifeline}, files...)
	cmd.SysProcAttr = id.attributes()
	if err := cmd.Start(); err != nil {
		_ = lifelineEnd.Close()
		return nil, nil, err
	}
	if id.hasRanges() {
		if err := id.mapRanges(ctx, cmd.Process.Pid); err != nil {
			_ = lifelineEnd.Close()
			_ = cmd.Wait()
			return nil, nil, err
		}
	}
	// The byte says that the namespace is mapped; a role that was not told to wait for it ignores it.
	_, _ = lifelineEnd.Write([]byte{1})
	return cmd, lifelineEnd, nil
}

// searchPath is PATH with the directories of system programs, which ordinary users often lack. What is in /run is
// named by where it really is, because a lab has a /run of its own; some systems keep links to all their programs there.
func searchPath(path string) string {
	var dirs []string
	for _, dir := range append(filepath.SplitList(path),
		"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin") {
		if strings.HasPrefix(dir, "/run/") {
			if target, err := filepath.EvalSymlinks(dir); err == nil {
				dir = target
			}
		}
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, ":")
}
