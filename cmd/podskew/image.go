package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/image"
)

type imageOptions struct {
	output string
	arches []string
	name   string
}

func (e *env) imageCommand() *cobra.Command {
	var o imageOptions
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Write the image of podskew's pods, for docker load or a registry",
		Long: `Write the container image of podskew's pods as one archive: podskew-pod FROM scratch, non-root, for one
or more architectures. No engine is needed and nothing is pulled: the binaries lie beside podskew.
"docker load" takes the archive, so do "ctr images import", kind and skopeo (oci-archive:).`,
		Example: `  podskew image | docker load
  podskew image --arch amd64,arm64 --name registry.example/podskew-pod:v1 -o podskew-pod.tar`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.writeImage(e.status(cmd), o) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.output, "output", "o", "-", "file to write the archive to, - for standard output")
	flags.StringSliceVar(&o.arches, "arch", []string{runtime.GOARCH}, "architectures: "+strings.Join(image.Architectures(), ", "))
	flags.StringVar(&o.name, "name", image.DefaultName, "the image's name, HOST/PATH:TAG")
	_ = cmd.RegisterFlagCompletionFunc("arch", cobra.FixedCompletions(image.Architectures(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (e *env) writeImage(st *status, o imageOptions) error {
	if err := image.CheckName(o.name); err != nil {
		return usageError("--name: %w", err)
	}
	if o.output == "-" && e.stdoutTerminal {
		return usageError("an archive is nothing for a terminal: write to a file with -o FILE, or pipe it into \"docker load\"")
	}
	archive, err := e.podImage(o.arches, o.name)
	if err != nil {
		return err
	}
	if o.output == "-" {
		_, err = e.stdout.Write(archive)
	} else {
		err = writeWhole(o.output, archive)
	}
	if err != nil {
		return environmentError(fmt.Errorf("writing the image: %w", err), "")
	}
	st.note("image: %s for %s, %.1f MB", o.name, strings.Join(o.arches, " and "), float64(len(archive))/1e6)
	return nil
}

// podImage makes the image of the podskew-pod binaries that lie beside podskew. An engine that knows one architecture
// to a name gets this machine's, if it is among them.
func (e *env) podImage(arches []string, name string) ([]byte, error) {
	binaries := map[string]string{}
	for _, arch := range arches {
		if !slices.Contains(image.Architectures(), arch) {
			return nil, usageError("--arch %q: write %s", arch, strings.Join(image.Architectures(), ", "))
		}
		path, err := e.findPod(arch)
		if err != nil {
			return nil, err
		}
		binaries[arch] = path
	}
	opts := image.Options{Name: name, Version: toolVersion()}
	if binaries[runtime.GOARCH] != "" {
		opts.Engine = runtime.GOARCH
	}
	var archive bytes.Buffer
	if err := image.Write(&archive, binaries, opts); err != nil {
		return nil, environmentError(fmt.Errorf("making the image: %w", err), "\"make image\" builds the binaries anew")
	}
	return archive.Bytes(), nil
}

// findPod looks for the Linux binary of podskew-pod for an architecture: beside this binary, then in PATH. The one
// without a suffix is this machine's own.
func (e *env) findPod(arch string) (string, error) {
	names := []string{"podskew-pod-linux-" + arch}
	if arch == runtime.GOARCH && runtime.GOOS == "linux" {
		names = []string{"podskew-pod", names[0]}
	}
	for _, name := range names {
		beside := filepath.Join(filepath.Dir(e.executable), name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", environmentError(fmt.Errorf("%s, the program in the image, is neither beside podskew nor in PATH", strings.Join(names, " or ")),
		"\"make image\" builds it for every architecture")
}

// writeWhole writes a file that is there whole or not at all: half an image loads with an error nobody understands.
func writeWhole(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
