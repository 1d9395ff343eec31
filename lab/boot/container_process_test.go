package boot

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := "PATH=/no/such/directory:" + dir
	program := filepath.Join(dir, "program")
	for name, test := range map[string]struct {
		args []string
		env  []string
		want string // "" is an error
	}{
		"an absolute path":                    {args: []string{program}, want: program},
		"a path relative to the directory":    {args: []string{"./program"}, want: program},
		"a name in PATH":                      {args: []string{"program"}, env: []string{path}, want: program},
		"the last PATH counts":                {args: []string{"program"}, env: []string{"PATH=/", path}, want: program},
		"a name that is not in PATH":          {args: []string{"program"}, env: []string{path, "PATH=/"}},
		"no PATH":                             {args: []string{"program"}},
		"a name of a file that is no program": {args: []string{"text"}, env: []string{path}},
		"a name of a directory":               {args: []string{"directory"}, env: []string{path}},
		"a path that does not exist":          {args: []string{"/no/such/program"}},
		"no arguments":                        {},
		"an empty name":                       {args: []string{""}},
	} {
		got, err := findProgram(&Program{Args: test.args, Env: test.env, Dir: dir})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, test.want)
		}
	}
}

func TestContainerRoles(t *testing.T) {
	for _, name := range []string{RoleContainer, RoleExec} {
		if containerRole(name) == nil {
			t.Errorf("%s is not a role", name)
		}
	}
	if containerRole("version") != nil {
		t.Error("a command is taken for a role")
	}
}
