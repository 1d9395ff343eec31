package cli

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/lab/launch"
)

// run runs the command line in this process and returns what it wrote.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	out, errs := create("out"), create("err")
	defer out.Close()
	defer errs.Close()
	code = Main(t.Context(), Process{Version: "v0", Args: args, Stdout: out, Stderr: errs})
	return content(t, out), content(t, errs), code
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUsageErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"an unknown command", []string{"upp"}, `unknown command "upp"`},
		{"an unknown flag", []string{"up", "--worker", "3"}, "unknown flag: --worker"},
		{"an argument too many", []string{"down", "now"}, "unknown command"},
		{"no workers", []string{"up", "--workers", "0"}, "--workers 0: want 1 to 32"},
		{"an unknown proxy mode", []string{"up", "--proxy-mode", "ipvs"}, "--proxy-mode ipvs: want nftables or iptables"},
		{"an unknown mode", []string{"up", "--mode", "sudo"}, "--mode sudo: want auto or"},
		{"no time", []string{"up", "--timeout", "0s"}, "--timeout 0s"},
		{"an image without a path", []string{"up", "--image", "echo"}, "--image echo: want NAME=PATH"},
		{"an image that is not there", []string{"up", "--image", "echo=/no/such/file"}, "no such file"},
		{"an image that is a directory", []string{"up", "--image", "echo=/tmp"}, "/tmp is not a file"},
		{"an unknown format", []string{"status", "-o", "yaml"}, "-o yaml: want text or json"},
		{"exec without a command", []string{"exec", "worker"}, "requires at least 2 arg"},
		{"exec with only dashes", []string{"exec", "worker", "--"}, "needs a command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := run(t, append([]string{"--run-dir", dir}, tt.args...)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "hint: see") {
				t.Errorf("exit code %d, output %q, errors %q; want %q", code, stdout, stderr, tt.want)
			}
		})
	}
}

func TestCommandsWithoutALab(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"status says that it is stopped", []string{"status"}, exitFailed, "state          stopped\nrun directory  " + dir + "\n", ""},
		{"so does its JSON", []string{"status", "-o", "json"}, exitFailed, "{\n  \"state\": \"stopped\",\n  \"runDir\": \"" + dir + "\"\n}\n", ""},
		{"down has nothing to do", []string{"down"}, exitOK, "", "podskew-lab: no lab is running with the run directory " + dir + "\n"},
		{
			"exec needs one", []string{"exec", "worker", "--", "true"}, exitFailed, "",
			"podskew-lab: error: " + dir + ": no lab is running with this run directory\n" +
				"podskew-lab: hint: start one with \"podskew-lab up --detach --run-dir " + dir + "\"\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := run(t, append([]string{"--run-dir", dir}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, stdout); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, stderr); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseImage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		flag string
		want launch.Image
		ok   bool
	}{
		{"echo=" + file, launch.Image{Name: "echo", File: file, Path: "/server"}, true},
		{"a.example/b:1=" + file + ":/bin/echo", launch.Image{Name: "a.example/b:1", File: file, Path: "/bin/echo"}, true},
		{"echo=" + file + ":bin/echo", launch.Image{}, false},
		{"=" + file, launch.Image{}, false},
		{"echo=", launch.Image{}, false},
		{"echo", launch.Image{}, false},
	}
	for _, tt := range tests {
		got, err := parseImage(tt.flag)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != tt.ok {
			t.Errorf("%s: got %+v, %v", tt.flag, got, err)
		}
	}
}

func FuzzParseImage(f *testing.F) {
	f.Add("echo=/bin/true")
	f.Add("echo=/bin/true:/x")
	f.Add("=:")
	f.Fuzz(func(t *testing.T, flag string) {
		image, err := parseImage(flag)
		if err == nil && (image.Name == "" || !filepath.IsAbs(image.File) || !filepath.IsAbs(image.Path)) {
			t.Errorf("%q: %+v", flag, image)
		}
	})
}

func TestVersion(t *testing.T) {
	stdout, _, code := run(t, "version")
	if code != exitOK || !strings.HasPrefix(stdout, "podskew-lab v0 with Kubernetes v") {
		t.Errorf("exit code %d, output %q", code, stdout)
	}
}
