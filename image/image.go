// Package image writes the container image of podskew's own pods: one static binary FROM scratch, for one or more
// architectures, in a single tar that container engines (docker load) and containerd (ctr images import, which is how
// kind loads images) both take. It needs no engine and pulls nothing, and equal binaries give equal bytes.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultName is the image's name where none is given. Nothing pulls it: it is loaded.
	DefaultName = "podskew.dev/pod:dev"
	// Binary is the path of the program in the image.
	Binary = "/podskew-pod"
	// User runs the program: no name, since there is no /etc/passwd, and not root, as runAsNonRoot demands.
	User = "65532:65532"
)

// Options say what the image is called.
type Options struct {
	// Name is HOST/PATH:TAG; "" is DefaultName. The host is part of it, since Docker and the kubelet complete a name
	// without one and containerd does not: the kubelet would look for another image than the one that was loaded.
	Name string
	// Version is the version of the binaries, for the image's labels. "" leaves the label out.
	Version string
	// Engine is the GOARCH of the image that engines take which know one architecture to a name (docker load without
	// containerd's image store). "" is the first of the binaries, in the order of their names. containerd takes the one
	// that fits the node in any case.
	Engine string
}

// Architectures lists the GOARCH values an image can be made for, sorted.
func Architectures() []string { return slices.Sorted(maps.Keys(machines())) }

// Write writes the archive of the image with the given binaries: GOARCH → path of a static podskew-pod for it.
func Write(w io.Writer, binaries map[string]string, opts Options) error {
	if err := check(binaries, &opts); err != nil {
		return err
	}
	var a archive
	var manifests []descriptor
	var docker []dockerManifest
	for _, arch := range slices.Sorted(maps.Keys(binaries)) {
		program, err := readBinary(binaries[arch], arch)
		if err != nil {
			return err
		}
		manifest, forDocker, err := a.addImage(arch, program, opts)
		if err != nil {
			return fmt.Errorf("making the %s image: %w", arch, err)
		}
		manifests = append(manifests, manifest)
		if arch == opts.Engine {
			docker = append(docker, forDocker)
		}
	}
	if err := a.addTop(manifests, docker, opts.Name); err != nil {
		return fmt.Errorf("making the image's index: %w", err)
	}
	if err := a.write(w); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	return nil
}

// nameForm is what Docker, containerd and the kubelet all read as the same image.
var nameForm = regexp.MustCompile(`^(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// CheckName says what is wrong with an image's name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("image name %q: write HOST/PATH:TAG, as in %s", name, DefaultName)
	}
	return nil
}

// check refuses what no image can be made of and fills in defaults.
func check(binaries map[string]string, opts *Options) error {
	if len(binaries) == 0 {
		return errors.New("an image needs a binary")
	}
	for _, arch := range slices.Sorted(maps.Keys(binaries)) {
		if _, known := machines()[arch]; !known {
			return fmt.Errorf("architecture %q: write one of %s", arch, strings.Join(Architectures(), ", "))
		}
	}
	opts.Name = cmp.Or(opts.Name, DefaultName)
	if err := CheckName(opts.Name); err != nil {
		return err
	}
	if opts.Engine == "" {
		opts.Engine = slices.Min(slices.Collect(maps.Keys(binaries)))
	}
	if _, given := binaries[opts.Engine]; !given {
		return fmt.Errorf("the engine's architecture %s is not among the binaries'", opts.Engine)
	}
	return nil
}

// file is one entry of a tar.
type file struct {
	name string
	mode int64
	data []byte
}

// writeTar writes files in their order, all root's and all of the same age, so that equal files give equal bytes.
func writeTar(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		err := t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	return t.Close()
}

// layer is the image's only layer. It is not compressed: how compressed bytes come out is the compressor's version's
// affair, and an archive that never leaves the machine gains little by it.
func layer(program []byte) ([]byte, error) {
	var buf bytes.Buffer
	err := writeTar(&buf, []file{{strings.TrimPrefix(Binary, "/"), 0o755, program}})
	return buf.Bytes(), err
}
