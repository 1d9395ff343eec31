package kind

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the container engine, too: linked as "docker" in front of PATH, it is what kind's own
// library calls, which thus runs unchanged from its parser to the kubeconfig.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "docker" {
		f := fakeDocker{dir: os.Getenv("FAKE_DOCKER"), args: os.Args[1:]}
		if err := f.run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeDocker is one call of the scripted engine. What it knows lies in files: info (what it says of itself; no file: no
// daemon), images, network, nodes/NAME, and log (its calls). A call that contains a line
// of fail fails, one that contains a line of slow takes its time.
type fakeDocker struct {
	dir  string
	args []string
}

const fakeInfo = `{"ServerVersion":"29.9.2","CgroupVersion":"1","CgroupDriver":"cgroupfs","DockerRootDir":"/var/lib/docker","Name":"elsewhere","KernelVersion":"6.1","SecurityOptions":["name=seccomp,profile=builtin"]}`

// newEngine puts a scripted docker in front of PATH, with the given node images.
func newEngine(t *testing.T, images ...string) (e *Engine, dir string) {
	t.Helper()
	dir = fakeOnPath(t)
	write(t, dir, "info", fakeInfo)
	write(t, dir, "images", strings.Join(images, "\n"))
	e, err := Detect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return e, dir
}

func fakeOnPath(t *testing.T) string {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "docker"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("FAKE_DOCKER", dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each call of a race-detecting docker ends with a second's sleep
	t.Setenv("KUBECONFIG", filepath.Join(dir, "the-users-own"))
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f fakeDocker) run() error {
	call := strings.Join(f.args, " ")
	f.append("log", call)
	if f.listed("slow", call) {
		time.Sleep(500 * time.Millisecond) // a command that an interrupt comes in the middle of
	}
	if f.listed("fail", call) {
		return fmt.Errorf("scripted failure of %s", f.args[0])
	}
	if !f.has("info") && f.args[0] != "-v" {
		return fmt.Errorf("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
	}
	switch f.args[0] {
	case "-v":
		fmt.Println("Docker version 29.9.2, build fake")
	case "info":
		if slices.Contains(f.args, "{{json .}}") {
			fmt.Println(f.read("info"))
		}
	case "images":
		fmt.Println(f.read("images"))
	case "pull":
		return f.pull()
	case "network":
		return f.network()
	case "ps":
		f.ps(call)
	case "run":
		return os.WriteFile(f.path("nodes", f.args[slices.Index(f.args, "--name")+1]), []byte(call), 0o600)
	case "logs":
		fmt.Println("INFO: detected cgroup v1")
	case "inspect":
		return f.inspect(call)
	case "exec":
		return f.exec()
	case "rm":
		for _, n := range f.args[1:] {
			_ = os.Remove(f.path("nodes", n))
		}
	}
	return nil
}

func (f fakeDocker) path(elem ...string) string {
	p := filepath.Join(append([]string{f.dir}, elem...)...)
	_ = os.MkdirAll(filepath.Dir(p), 0o700)
	return p
}

func (f fakeDocker) has(name string) bool { _, err := os.Stat(f.path(name)); return err == nil }

func (f fakeDocker) read(name string) string {
	data, _ := os.ReadFile(f.path(name))
	return strings.TrimSpace(string(data))
}

func (f fakeDocker) append(name, line string) {
	file, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = file.WriteString(line + "\n")
		_ = file.Close()
	}
}

// listed reports whether a line of the file is part of the call.
func (f fakeDocker) listed(file, call string) bool {
	for line := range strings.Lines(f.read(file)) {
		if line = strings.TrimSpace(line); line != "" && strings.Contains(call, line) {
			return true
		}
	}
	return false
}

func (f fakeDocker) nodes() []string {
	entries, _ := os.ReadDir(f.path("nodes"))
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func (f fakeDocker) pull() error {
	switch f.read("registry") {
	case "":
		return fmt.Errorf("Error response from daemon: dial tcp: lookup registry-1.docker.io: no such host")
	case "silent":
		time.Sleep(time.Minute)
	case "broken":
		fmt.Println("x: Pulling from kindest/node")
		return fmt.Errorf("unexpected EOF")
	}
	fmt.Println("x: Pulling from kindest/node\nabc: Pull complete\nStatus: Downloaded newer image")
	f.append("images", f.args[1])
	return nil
}

func (f fakeDocker) network() error {
	switch f.args[1] {
	case "create":
		f.append("network", "kind")
	case "rm":
		return os.Remove(f.path("network"))
	case "ls":
		fmt.Println(f.read("network"))
	case "inspect":
		if f.args[len(f.args)-1] == "kind" && !f.has("network") {
			return fmt.Errorf("Error response from daemon: network kind not found")
		}
	}
	return nil
}

func (f fakeDocker) ps(call string) {
	for _, n := range f.nodes() {
		name := strings.TrimSuffix(n, "-control-plane")
		if at := strings.LastIndex(n, "-worker"); at >= 0 {
			name = n[:at]
		}
		switch {
		case strings.Contains(call, "{{.Label"):
			fmt.Println(name)
		case strings.Contains(call, "network="):
			fmt.Println("0123456789ab")
		case strings.Contains(call, "label=io.x-k8s.kind.cluster="+name+" ") && (slices.Contains(f.args, "-a") || !f.has("stopped")):
			fmt.Println(n)
		}
	}
	if strings.Contains(call, "network=") && f.has("neighbour") {
		fmt.Println("ffffffffffff")
	}
}

func (f fakeDocker) inspect(call string) error {
	name := f.args[len(f.args)-1]
	switch {
	case strings.Contains(call, "--type=image"):
		if !slices.Contains(strings.Fields(f.read("images")), name) {
			return fmt.Errorf("Error: No such image: %s", name)
		}
	case !slices.Contains(f.nodes(), name):
		return fmt.Errorf("Error: No such object: %s", name)
	case strings.Contains(call, "kind.role"):
		fmt.Println(map[bool]string{true: "control-plane", false: "worker"}[strings.HasSuffix(name, "-control-plane")])
	case strings.Contains(call, "IPAddress"):
		fmt.Println("172.18.0.2,")
	case strings.Contains(call, "desktop.docker.io"):
		fmt.Println()
	case strings.Contains(call, "Ports"):
		fmt.Println("127.0.0.1\t40443")
	}
	return nil
}

const fakeAdminConf = `apiVersion: v1
kind: Config
clusters: [{name: kubernetes, cluster: {server: "https://podskew-control-plane:6443"}}]
contexts: [{name: kubernetes-admin@kubernetes, context: {cluster: kubernetes, user: kubernetes-admin}}]
current-context: kubernetes-admin@kubernetes
users: [{name: kubernetes-admin, user: {}}]
`

// exec plays what kind runs inside the nodes. Files that kind writes there lie in files/NODE.
func (f fakeDocker) exec() error {
	args := f.args[1:]
	for strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	node, command := args[0], args[1:]
	if !slices.Contains(f.nodes(), node) {
		return fmt.Errorf("Error: No such container: %s", node)
	}
	last := command[len(command)-1]
	switch strings.Join(command[:min(2, len(command))], " ") {
	case "cat /kind/version":
		fmt.Println("v1.36.4")
	case "cat /etc/kubernetes/admin.conf":
		fmt.Print(fakeAdminConf)
	case "cat /kind/kubeadm.conf":
		fmt.Print(f.read(filepath.Join("files", node, "kubeadm.conf")))
	case "cp /dev/stdin":
		return f.keep(filepath.Join("files", node, filepath.Base(last)))
	case "containerd config":
		fmt.Println("version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"overlayfs\"")
	case "ctr --namespace=k8s.io":
		return f.keep(filepath.Join("files", node, "image.tar"))
	case "kubectl --kubeconfig=/etc/kubernetes/admin.conf":
		fmt.Println("'True'")
	}
	return nil
}

func (f fakeDocker) keep(name string) error {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	return os.WriteFile(f.path(name), data, 0o600)
}
