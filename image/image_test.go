package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// program writes the smallest file that is a program for a machine, static or not, and returns its path.
func program(t *testing.T, machine elf.Machine, static bool) string {
	t.Helper()
	var buf bytes.Buffer
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Phentsize: 56, Shentsize: 64,
	}
	if !static {
		head.Phoff, head.Phnum = 64, 1
	}
	err := binary.Write(&buf, binary.LittleEndian, head)
	if !static {
		err = errors.Join(err, binary.Write(&buf, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_INTERP)}))
	}
	path := filepath.Join(t.TempDir(), "podskew-pod")
	if err = errors.Join(err, os.WriteFile(path, buf.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, binaries map[string]string, opts Options) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, binaries, opts); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// untar returns a tar's files, and fails where a file is there twice.
func untar(t *testing.T, data []byte) (map[string][]byte, map[string]*tar.Header) {
	t.Helper()
	files, headers := map[string][]byte{}, map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[head.Name] != nil {
			t.Fatalf("%s is there twice", head.Name)
		}
		headers[head.Name] = head
		if files[head.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// tree is JSON without our types: the test reads the archive as a stranger would.
type tree = map[string]any

func parse[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	return v
}

// blob follows a descriptor and holds the content against its digest and size.
func blob(t *testing.T, files map[string][]byte, at any, mediaType string) []byte {
	t.Helper()
	d := at.(tree)
	digest := d["digest"].(string)
	data, ok := files["blobs/"+strings.Replace(digest, ":", "/", 1)]
	sum := sha256.Sum256(data)
	if !ok || digest != "sha256:"+hex.EncodeToString(sum[:]) || d["size"] != float64(len(data)) || d["mediaType"] != mediaType {
		t.Fatalf("the descriptor %v does not fit its %d bytes; want a %s", d, len(data), mediaType)
	}
	return data
}

func TestTheArchiveIsAnOCILayoutAndADockerArchive(t *testing.T) {
	binaries := map[string]string{"arm64": program(t, elf.EM_AARCH64, true), "amd64": program(t, elf.EM_X86_64, true)}
	files, _ := untar(t, write(t, binaries, Options{Name: "podskew.dev/pod:v1", Version: "v1.2.3", Engine: "arm64"}))
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	top := parse[tree](t, files["index.json"])["manifests"].([]any)
	if len(top) != 1 {
		t.Fatalf("the name stands for %d things", len(top))
	}
	annotations := tree{"io.containerd.image.name": "podskew.dev/pod:v1", "org.opencontainers.image.ref.name": "v1"}
	if diff := cmp.Diff(annotations, top[0].(tree)["annotations"]); diff != "" {
		t.Error(diff)
	}
	images := parse[tree](t, blob(t, files, top[0], "application/vnd.oci.image.index.v1+json"))["manifests"].([]any)
	configs, arches := map[string]any{}, []string{}
	for _, at := range images {
		platform := at.(tree)["platform"].(tree)
		arch := platform["architecture"].(string)
		arches = append(arches, arch)
		if diff := cmp.Diff(tree{"os": "linux", "architecture": arch}, platform); diff != "" {
			t.Error(diff)
		}
		m := parse[tree](t, blob(t, files, at, "application/vnd.oci.image.manifest.v1+json"))
		config := m["config"].(tree)
		configs[arch] = config["digest"]
		checkConfig(t, blob(t, files, config, "application/vnd.oci.image.config.v1+json"), arch, m["layers"].([]any)[0].(tree)["digest"])
		checkLayer(t, blob(t, files, m["layers"].([]any)[0], "application/vnd.oci.image.layer.v1.tar"), binaries[arch])
	}
	if !slices.Equal(arches, []string{"amd64", "arm64"}) {
		t.Errorf("images for %v", arches)
	}
	docker := parse[[]tree](t, files["manifest.json"])
	want := "blobs/" + strings.Replace(configs["arm64"].(string), ":", "/", 1)
	if len(docker) != 1 || docker[0]["Config"] != want || !cmp.Equal(docker[0]["RepoTags"], []any{"podskew.dev/pod:v1"}) {
		t.Errorf("manifest.json is %v, want the arm64 image, %s", docker, want)
	}
	if layer := docker[0]["Layers"].([]any)[0].(string); files[layer] == nil {
		t.Errorf("manifest.json names the layer %s, which is not there", layer)
	}
	if used := 1 + 3*2 + 3; len(files) != used {
		t.Errorf("%d files, want %d", len(files), used)
	}
}

func checkConfig(t *testing.T, data []byte, arch string, layer any) {
	t.Helper()
	got := parse[tree](t, data)
	labels := got["config"].(tree)["Labels"].(tree)
	for label, want := range map[string]string{"version": "v1.2.3", "title": "podskew-pod", "licenses": "Apache-2.0"} {
		if labels["org.opencontainers.image."+label] != want {
			t.Errorf("label %s is %v, want %s", label, labels["org.opencontainers.image."+label], want)
		}
	}
	want := tree{
		"architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config":  tree{"User": "65532:65532", "Entrypoint": []any{"/podskew-pod"}, "WorkingDir": "/", "Labels": labels},
		"rootfs":  tree{"type": "layers", "diff_ids": []any{layer}},
		"history": []any{tree{"created": "1970-01-01T00:00:00Z", "created_by": "podskew image"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func checkLayer(t *testing.T, data []byte, path string) {
	t.Helper()
	files, headers := untar(t, data)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || !bytes.Equal(files["podskew-pod"], want) {
		t.Errorf("the layer has %d files, or another podskew-pod", len(files))
	}
	if h := headers["podskew-pod"]; h == nil || h.Mode != 0o755 || h.Uid != 0 || h.Gid != 0 {
		t.Errorf("podskew-pod lies there as %+v", h)
	}
}

func TestOneArchitectureNeedsNoIndexOfItsOwn(t *testing.T) {
	files, _ := untar(t, write(t, map[string]string{"arm64": program(t, elf.EM_AARCH64, true)}, Options{}))
	top := parse[tree](t, files["index.json"])["manifests"].([]any)
	m := parse[tree](t, blob(t, files, top[0], "application/vnd.oci.image.manifest.v1+json"))
	config := parse[tree](t, blob(t, files, m["config"], "application/vnd.oci.image.config.v1+json"))
	if config["architecture"] != "arm64" {
		t.Errorf("the image is for %v", config["architecture"])
	}
	if got := parse[[]tree](t, files["manifest.json"])[0]["RepoTags"]; !cmp.Equal(got, []any{DefaultName}) {
		t.Errorf("without a name the image is called %v", got)
	}
}

func TestEqualBinariesGiveEqualBytes(t *testing.T) {
	binaries := func() map[string]string { // other paths, other times
		return map[string]string{"amd64": program(t, elf.EM_X86_64, true), "arm64": program(t, elf.EM_AARCH64, true)}
	}
	first := write(t, binaries(), Options{Version: "v1"})
	if !bytes.Equal(first, write(t, binaries(), Options{Version: "v1"})) {
		t.Error("the same binaries gave two images")
	}
	if bytes.Equal(first, write(t, binaries(), Options{Version: "v2"})) {
		t.Error("another version gave the same image")
	}
}

func TestWhatCannotBecomeAnImageIsRefused(t *testing.T) {
	amd64 := program(t, elf.EM_X86_64, true)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		binaries map[string]string
		opts     Options
		want     string
	}{
		"nothing":                        {nil, Options{}, "needs a binary"},
		"an unknown architecture":        {map[string]string{"sparc": amd64}, Options{}, `architecture "sparc": write one of amd64, arm64`},
		"a binary that is not there":     {map[string]string{"amd64": "/nonexistent"}, Options{}, "reading the amd64 binary"},
		"a script":                       {map[string]string{"amd64": script}, Options{}, "not a Linux program"},
		"another architecture's":         {map[string]string{"arm64": amd64}, Options{}, "is not for arm64: it is for EM_X86_64"},
		"a program that needs a library": {map[string]string{"amd64": program(t, elf.EM_X86_64, false)}, Options{}, "is not static"},
		"a name without a host":          {map[string]string{"amd64": amd64}, Options{Name: "pod:dev"}, "HOST/PATH:TAG"},
		"an engine without its image":    {map[string]string{"amd64": amd64}, Options{Engine: "arm64"}, "not among the binaries"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Write(&out, c.binaries, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if out.Len() > 0 {
				t.Errorf("%d bytes were written before the refusal", out.Len())
			}
		})
	}
}

func TestAFullDiskIsReported(t *testing.T) {
	full := errors.New("no space left")
	err := Write(failing{full}, map[string]string{"amd64": program(t, elf.EM_X86_64, true)}, Options{})
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestANameIsTheSameImageToEveryReader(t *testing.T) {
	for name, ok := range map[string]bool{
		"podskew.dev/pod:dev":                         true,
		"localhost/pod:dev":                           true,
		"localhost:5000/team/podskew-pod:v1.2_3":      true,
		"registry.example:443/a/b/c__d/pod:V1":        true,
		"pod:dev":                                     false, // Docker would put its own registry in front
		"team/pod:dev":                                false,
		"podskew.dev/pod":                             false, // latest is pulled always
		"podskew.dev/Pod:dev":                         false,
		"podskew.dev/pod:dev@sha256:0123":             false,
		"podskew.dev/pod:":                            false,
		"podskew.dev//pod:dev":                        false,
		"podskew.dev/pod:dev\n":                       false,
		"podskew.dev/pod:" + strings.Repeat("a", 129): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
