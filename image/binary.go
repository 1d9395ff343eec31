package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
)

// machines are the architectures that images are made for, and what their binaries say of themselves.
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
}

// readBinary reads a program that can run alone in an image: for the right architecture, and static, since nothing
// else is there. Started in a pod, the wrong one ends with "exec format error" or "no such file or directory".
func readBinary(path, arch string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the %s binary: %w", arch, err)
	}
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s is not a Linux program: %w", path, err)
	}
	if program.Machine != machines()[arch] {
		return nil, fmt.Errorf("%s is not for %s: it is for %s", path, arch, program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("%s is not static: nothing it needs is in the image (build it with CGO_ENABLED=0)", path)
		}
	}
	return data, nil
}
