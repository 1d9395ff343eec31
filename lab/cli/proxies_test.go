package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podskew/podskew/lab/launch"
)

func TestTheLibrariesOfAProgramAreThoseThatTheDynamicLinkerLoads(t *testing.T) {
	for _, name := range []string{"haproxy", "nginx", "mount"} {
		program := findProxy(t.TempDir(), name)
		if program == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
			if err != nil {
				t.Skipf("ldd does not tell: %v", err)
			}
			got, err := librariesOf(program)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(out)) {
				fields := strings.Fields(line)
				if len(fields) < 3 || fields[1] != "=>" {
					continue
				}
				if !slices.ContainsFunc(got, func(path string) bool { return filepath.Base(path) == filepath.Base(fields[0]) }) {
					t.Errorf("%s is not among %v", fields[0], got)
				}
			}
			if !slices.ContainsFunc(got, func(path string) bool { return strings.Contains(filepath.Base(path), "ld-") }) {
				t.Errorf("no dynamic linker among %v", got)
			}
		})
	}
}

func TestAProgramWhoseLibraryIsMissingIsNoProxy(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if libraries, err := librariesOf(self); err != nil || libraries != nil && !slices.IsSorted(libraries) {
		t.Errorf("this test needs %v, %v", libraries, err)
	}
	if _, err := librariesOf("/etc/passwd"); err == nil {
		t.Error("a text file passes for a program")
	}
	if got := findProxy(t.TempDir(), "no-such-proxy"); got != "" {
		t.Errorf("no-such-proxy is found at %s", got)
	}
}

func TestImagesOfProxiesGiveWayToThoseOfFlags(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "caddy")); err != nil {
		t.Fatal(err)
	}
	found := proxyImages(dir, nil)
	at := slices.IndexFunc(found, func(i launch.Image) bool { return i.Name == "podskew.dev/caddy:lab" })
	if at < 0 || found[at].File != filepath.Join(dir, "caddy") || !strings.HasPrefix(found[at].ID, "sha256:") {
		t.Errorf("beside the lab lies caddy, and its images are %+v", found)
	}
	for _, image := range proxyImages(dir, []launch.Image{{Name: "podskew.dev/caddy:lab"}}) {
		if image.Name == "podskew.dev/caddy:lab" {
			t.Errorf("a flag names %s, and it is there again", image.Name)
		}
	}
}

func TestConfigurationOfTheDynamicLinkerMayIncludeItself(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ld.so.conf")
	if err := os.WriteFile(file, []byte("/opt/lib # a comment\ninclude ld.so.conf\nrelative\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := libraryDirs(file, 0); !slices.Contains(got, "/opt/lib") || slices.Contains(got, "relative") || len(got) > 20 {
		t.Errorf("its directories are %v", got)
	}
}
