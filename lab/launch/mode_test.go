package launch

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestParseSubordinate(t *testing.T) {
	names := []string{"1000", "mira"}
	tests := []struct {
		line string
		want idRange
		ok   bool
	}{
		{"mira:100000:65536", idRange{100000, 65536}, true},
		{"1000:200000:65536\n", idRange{200000, 65536}, true},
		{"other:100000:65536", idRange{}, false},
		{"mira:100000", idRange{}, false},
		{"mira:x:65536", idRange{}, false},
		{"mira:0:65536", idRange{}, false},
		{"mira:100000:-1", idRange{}, false},
		{"# mira:100000:65536", idRange{}, false},
		{"", idRange{}, false},
	}
	for _, tt := range tests {
		got, ok := parseSubordinate(tt.line, names)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: got %v, %t; want %v, %t", tt.line, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseSubordinate(f *testing.F) {
	f.Add("mira:100000:65536")
	f.Add("mira:99999999999999999999:1")
	f.Fuzz(func(t *testing.T, line string) {
		r, ok := parseSubordinate(line, []string{"mira"})
		if ok && (r.first <= 0 || r.count <= 0 || !strings.HasPrefix(strings.TrimSpace(line), "mira:")) {
			t.Errorf("%q: %v", line, r)
		}
	})
}

func TestCandidates(t *testing.T) {
	root := os.Getuid() == 0
	for _, mode := range Modes() {
		got, err := candidates(mode)
		possible := mode == Auto || root == (mode != Rootless)
		if (err == nil) != possible || (len(got) > 0) != possible {
			t.Errorf("mode %s as user %d: %v, %v", mode, os.Getuid(), got, err)
		}
		for _, id := range got {
			if (id.mode == Rootless) == root {
				t.Errorf("mode %s as user %d: %v", mode, os.Getuid(), id)
			}
		}
	}
}

func TestIdentityAttributes(t *testing.T) {
	ranges := idRange{100000, 65536}
	tests := []struct {
		name       string
		id         identity
		userns     bool
		mapped     int // ids that the process's own namespace is given by its parent
		singleUser bool
	}{
		{"root has no user namespace", identity{mode: Root}, false, 0, false},
		{"root can have one with many users", identity{mode: UserNS}, true, usernsCount, false},
		{"an ordinary user maps itself", identity{mode: Rootless, uid: 7, gid: 8}, true, 1, true},
		{"subordinate ids are mapped later", identity{Rootless, 7, 8, ranges, ranges, false}, true, 0, false},
		{"root of a small user namespace has one user", identity{mode: Root, few: true}, false, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attr := tt.id.attributes()
			if got := attr.Cloneflags&syscall.CLONE_NEWUSER != 0; got != tt.userns {
				t.Errorf("user namespace: %t", got)
			}
			mapped := 0
			for _, m := range attr.UidMappings {
				mapped += m.Size
			}
			if mapped != tt.mapped || len(attr.UidMappings) != len(attr.GidMappings) {
				t.Errorf("mapped %d ids, want %d", mapped, tt.mapped)
			}
			if tt.id.singleUser() != tt.singleUser {
				t.Errorf("single user: %t", tt.id.singleUser())
			}
		})
	}
}

func TestMappedIDs(t *testing.T) {
	tests := []struct {
		name, uidMap string
		want         int
	}{
		{"the machine's own", "         0          0 4294967295\n", 4294967295},
		{"one user", "         0      23456          1\n", 1},
		{"one user and subordinate ones", "0 1000 1\n1 100000 65536\n", 65537},
		{"none", "", 0},
	}
	for _, tt := range tests {
		if got := mappedIDs(tt.uidMap); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestNamespaceRemedy(t *testing.T) {
	tests := []struct {
		name     string
		mode     Mode
		settings map[string]string
		err      error
		want     string
	}{
		{"switched off", Rootless, map[string]string{"user/max_user_namespaces": "0"}, syscall.ENOSPC, "user.max_user_namespaces=15000"},
		{"Debian's switch", Rootless, map[string]string{"kernel/unprivileged_userns_clone": "0"}, syscall.EPERM, "kernel.unprivileged_userns_clone=1"},
		{"Ubuntu's AppArmor", Rootless, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, syscall.EACCES, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"AppArmor does not concern root", UserNS, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1"}, syscall.EPERM, "--privileged"},
		{"too many", Rootless, nil, syscall.ENOSPC, "limit of namespaces"},
		{"a container's seccomp profile", Rootless, nil, syscall.EPERM, "seccomp"},
		{"root in a container", Root, nil, syscall.EPERM, "--privileged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := namespaceRemedy(identity{mode: tt.mode}, tt.err, func(path string) string { return tt.settings[path] })
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want it to mention %q", got, tt.want)
			}
		})
	}
}

func TestSearchPath(t *testing.T) {
	tests := []struct{ path, want string }{
		{"", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"},
		{"/usr/bin::/usr/bin", "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/bin"},
		{"/run/no/such/dir", "/run/no/such/dir:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"},
		{"/opt/bin:/usr/bin", "/opt/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/bin"},
	}
	for _, tt := range tests {
		if got := searchPath(tt.path); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.path, got, tt.want)
		}
	}
}

// TestMissingToolsAreNamed looks for the tools of both modes where there are none.
func TestMissingToolsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for mode, tool := range map[string]string{"nftables": "nft", "iptables": "iptables-restore"} {
		var named bool
		for _, f := range toolFindings(mode) {
			named = named || f.What == "the program "+tool && f.Required
			if f.Problem != "" && !strings.Contains(f.Remedy, "install the package") {
				t.Errorf("%s: no remedy in %+v", mode, f)
			}
		}
		if !named {
			t.Errorf("%s: %s is not among the findings", mode, tool)
		}
	}
	if inPath(t.TempDir(), "nft") {
		t.Error("a tool was found in an empty directory")
	}
}

func TestUnfitErrorNamesWhatIsMissing(t *testing.T) {
	err := error(&UnfitError{Findings: []Finding{
		{What: "nft", Required: true, Problem: "not found"}, {What: "mount", Required: true}, {What: "memory", Problem: "little"},
	}})
	if _, ok := errors.AsType[*UnfitError](err); !ok || !strings.HasSuffix(err.Error(), "missing: nft") {
		t.Errorf("got %q", err)
	}
}
