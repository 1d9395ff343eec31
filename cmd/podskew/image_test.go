package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// installed is an env whose executable has the given siblings: names of files, and the machines they are for.
func installed(t *testing.T, siblings map[string]elf.Machine) (*env, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	for name, machine := range siblings {
		var program bytes.Buffer
		head := elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
		}
		err := binary.Write(&program, binary.LittleEndian, head)
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), program.Bytes(), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	var stdout bytes.Buffer
	return &env{stdout: &stdout, stderr: io.Discard, executable: filepath.Join(dir, "podskew")}, &stdout
}

func machine(t *testing.T) elf.Machine {
	t.Helper()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if machines[runtime.GOARCH] == 0 {
		t.Skip("no image is made for " + runtime.GOARCH)
	}
	return machines[runtime.GOARCH]
}

func TestTheImageIsMadeOfTheBinariesBesidePodskew(t *testing.T) {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	otherMachine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[other]
	e, stdout := installed(t, map[string]elf.Machine{"podskew-pod": machine(t), "podskew-pod-linux-" + other: otherMachine})
	file := filepath.Join(t.TempDir(), "pod.tar")
	arches := []string{"amd64", "arm64"}
	if err := e.writeImage(&status{quiet: true}, imageOptions{output: file, arches: arches, name: "podskew.dev/pod:v1"}); err != nil {
		t.Fatal(err)
	}
	if stdout.Len() > 0 {
		t.Errorf("with -o FILE stdout got %d bytes", stdout.Len())
	}
	if err := e.writeImage(&status{quiet: true}, imageOptions{output: "-", arches: arches, name: "podskew.dev/pod:v1"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, stdout.Bytes()) {
		t.Error("the file and standard output differ")
	}
	var top []string
	for r := tar.NewReader(bytes.NewReader(data)); len(top) < 3; {
		head, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		top = append(top, head.Name)
	}
	if diff := cmp.Diff([]string{"oci-layout", "index.json", "manifest.json"}, top); diff != "" {
		t.Error(diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside the image lies %v, %v", entries, err)
	}
}

func TestAnImageThatFailsLeavesTheOldOneAlone(t *testing.T) {
	wrong := elf.EM_PPC64
	e, _ := installed(t, map[string]elf.Machine{"podskew-pod-linux-amd64": wrong, "podskew-pod-linux-arm64": wrong})
	file := filepath.Join(t.TempDir(), "pod.tar")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	machine(t)
	err := e.writeImage(&status{quiet: true}, imageOptions{output: file, arches: []string{runtime.GOARCH}, name: "podskew.dev/pod:v1"})
	exit, ok := errors.AsType[*exitError](err)
	if !ok || exit.code != exitEnvironment || !strings.Contains(err.Error(), "is not for "+runtime.GOARCH) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "old" {
		t.Errorf("the old image is now %q, %v", text, err)
	}
}

func TestAnArchiveIsNothingForATerminal(t *testing.T) {
	e, stdout := installed(t, map[string]elf.Machine{"podskew-pod": machine(t)})
	e.stdoutTerminal = true
	err := e.writeImage(&status{quiet: true}, imageOptions{output: "-", arches: []string{runtime.GOARCH}, name: "podskew.dev/pod:v1"})
	exit, ok := errors.AsType[*exitError](err)
	if !ok || exit.code != exitUsage || stdout.Len() > 0 {
		t.Errorf("got %v and %d bytes", err, stdout.Len())
	}
}
