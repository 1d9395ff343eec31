package cli

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// librariesOf lists what a program needs to run besides itself: its interpreter and the shared libraries, also those that
// libraries need. It finds them as ld.so does, but for its cache and environment: by the paths in the binary, by
// /etc/ld.so.conf, and in the usual directories. nil: the program is static.
func librariesOf(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", program, err)
	}
	defer f.Close()
	interpreter, err := interpreterOf(f)
	if err != nil || interpreter == "" {
		return nil, err
	}
	s := &librarySearch{machine: f.Machine, dirs: libraryDirs("/etc/ld.so.conf", 0), found: map[string]string{filepath.Base(interpreter): interpreter}}
	if err := s.add(program, f); err != nil {
		return nil, err
	}
	var all []string
	for _, path := range s.found {
		all = append(all, path)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// interpreterOf returns the dynamic linker that a program asks for; "": none.
func interpreterOf(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		path := make([]byte, p.Filesz)
		if _, err := p.ReadAt(path, 0); err != nil {
			return "", fmt.Errorf("reading the name of the dynamic linker: %w", err)
		}
		return strings.TrimRight(string(path), "\x00"), nil
	}
	return "", nil
}

// librarySearch collects the libraries of a program.
type librarySearch struct {
	machine elf.Machine
	dirs    []string
	found   map[string]string // name → path
}

// add finds what f, which lies at path, needs, and what that needs in turn.
func (s *librarySearch) add(path string, f *elf.File) error {
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading what %s needs: %w", path, err)
	}
	dirs := slices.Concat(runPaths(path, f), s.dirs)
	for _, name := range needed {
		if s.found[name] != "" {
			continue
		}
		if err := s.addNamed(name, dirs); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func (s *librarySearch) addNamed(name string, dirs []string) error {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		f, err := elf.Open(path)
		if err != nil {
			continue
		}
		if f.Machine != s.machine {
			_ = f.Close()
			continue
		}
		s.found[name] = path
		err = s.add(path, f)
		_ = f.Close()
		return err
	}
	return fmt.Errorf("the shared library %s is not found", name)
}

// runPaths are the directories that a binary itself names.
func runPaths(path string, f *elf.File) []string {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, _ := f.DynString(tag) // an unreadable one names nothing
		for _, value := range values {
			for dir := range strings.SplitSeq(value, ":") {
				dirs = append(dirs, strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path)).Replace(dir))
			}
		}
	}
	return dirs
}

// maxIncludes bounds how deep configuration files of the dynamic linker may include one another.
const maxIncludes = 4

// libraryDirs are the directories of a configuration file of the dynamic linker and, at the top, the usual ones.
func libraryDirs(file string, depth int) []string {
	var dirs []string
	data, _ := os.ReadFile(file) // without one there are only the usual directories
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "include" && depth < maxIncludes:
			pattern := fields[1]
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(filepath.Dir(file), pattern)
			}
			included, _ := filepath.Glob(pattern) // a bad pattern matches nothing
			for _, name := range included {
				dirs = append(dirs, libraryDirs(name, depth+1)...)
			}
		case len(fields) == 1 && filepath.IsAbs(fields[0]):
			dirs = append(dirs, fields[0])
		}
	}
	if depth == 0 {
		dirs = append(dirs, "/lib64", "/usr/lib64", "/lib", "/usr/lib")
	}
	return dirs
}
