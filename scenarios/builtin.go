package scenarios

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed builtin/*.yaml
var builtinFiles embed.FS

// Names returns the names of the built-in scenarios, sorted.
func Names() []string {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		return nil // the directory is embedded: it cannot be missing
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Nearest returns the built-in scenario that a misspelled name most likely means, or "".
func Nearest(name string) string { return nearest(name, Names()) }

// Source returns the file of a built-in scenario, comments and all.
func Source(name string) ([]byte, error) {
	if !slices.Contains(Names(), name) {
		if near := Nearest(name); near != "" {
			return nil, fmt.Errorf("there is no built-in scenario %q: did you mean %s?", name, near)
		}
		return nil, fmt.Errorf("there is no built-in scenario %q", name)
	}
	data, err := builtinFiles.ReadFile(path.Join("builtin", name+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading built-in scenario %q: %w", name, err)
	}
	return data, nil
}

// Builtin returns a built-in scenario.
func Builtin(name string) (*Scenario, error) {
	data, err := Source(name)
	if err != nil {
		return nil, err
	}
	return Load(name+".yaml", data)
}

// Describe returns what a built-in scenario shows, in one sentence.
func Describe(name string) (string, error) {
	s, err := Builtin(name)
	if err != nil {
		return "", err
	}
	return s.Metadata.Description, nil
}
