package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/podnet"
)

// nodeFlags are the namespaces of a node.
const nodeFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC |
	syscall.CLONE_NEWUTS

// runningNode is a node whose namespaces exist.
type runningNode struct {
	Node
	pid   int           // of its process 1
	start *os.File      // see boot.FDNodeStart
	gone  chan struct{} // closed when its process 1 has ended
	again chan string   // names of processes that were restarted
}

// KubeletConfig is what the role that runs a node's kubelet reads, as JSON, from the file named by its argument.
type KubeletConfig struct {
	Name       string
	Address    netip.Addr
	PodCIDR    netip.Prefix // not valid: the node has no pod network
	Kubeconfig string
	CAFile     string
	CertFile   string // for its server, with KeyFile
	KeyFile    string
	ClusterDNS string
	Domain     string
	Images     []KubeletImage
	IgnoreUser bool // the user namespace has one user only
}

// KubeletImage is an image and where the node finds its binary and its libraries.
type KubeletImage struct {
	ImageFile
	Source         string
	LibrarySources []string // as Libraries
}

// nodeInit is the component name of a node's process 1.
const nodeInit = "init"

// newLAN builds the network of the nodes, and the control plane's part of it.
func newLAN(nodes []Node) (*podnet.LAN, error) {
	lan, err := podnet.NewLAN(netip.MustParsePrefix(controlPlaneIP + "/24"))
	if err != nil {
		return nil, fmt.Errorf("building the network of the nodes: %w", err)
	}
	// The API server answers pods directly, as they reach it through the Service "kubernetes".
	return lan, lan.AddRoutes(podRoutes(nodes, ""))
}

// startNodes creates the namespaces of all nodes and joins them to the LAN. Their processes wait to be released.
func (s *supervisor) startNodes(ctx context.Context, lan *podnet.LAN) error {
	running := make([]*runningNode, len(s.nodes))
	errs := make([]error, len(s.nodes))
	var group sync.WaitGroup
	for i, n := range s.nodes {
		group.Go(func() { running[i], errs[i] = s.startNode(ctx, lan, n) })
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
	return errors.Join(errs...)
}

func (s *supervisor) startNode(ctx context.Context, lan *podnet.LAN, n Node) (*runningNode, error) {
	spec, err := s.nodeSpec(n)
	if err != nil {
		return nil, err
	}
	r, news, err := s.cloneNode(ctx, n, spec)
	if err != nil {
		return nil, fmt.Errorf("starting node %s: %w", n.Name, err)
	}
	setUp := make(chan struct{})
	go s.followNode(r, news, setUp)
	select {
	case <-setUp:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := lan.Join(n.Name, r.pid, netip.PrefixFrom(n.Address, 24), nodeRoutes(s.nodes, n)); err != nil {
		return nil, err
	}
	return r, r.say(1)
}

// cloneNode starts the node's process 1 and returns its news.
func (s *supervisor) cloneNode(ctx context.Context, n Node, spec *boot.NodeSpec) (*runningNode, *os.File, error) {
	pipes, err := newPipes(3)
	if err != nil {
		return nil, nil, err
	}
	specPipe, startPipe, newsPipe := pipes[0], pipes[1], pipes[2]
	self := component{node: n.Name, name: nodeInit}
	log, err := os.OpenFile(self.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, boot.Self, boot.RoleNode)
	cmd.Args[0] = os.Args[0]
	cmd.Env = componentEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{specPipe.r, startPipe.r, newsPipe.w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: nodeFlags}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	for _, f := range cmd.ExtraFiles {
		_ = f.Close()
	}
	s.processes.set(self, stateRunning)
	r := &runningNode{Node: n, pid: cmd.Process.Pid, start: startPipe.w, gone: make(chan struct{}), again: make(chan string, 1)}
	go func() {
		defer close(r.gone)
		s.processes.ended(self, howEnded(cmd.Wait()))
	}()
	if err := json.NewEncoder(specPipe.w).Encode(spec); err != nil {
		return nil, nil, err
	}
	return r, newsPipe.r, specPipe.w.Close()
}

// followNode reads what the node reports until it ends; the first report says that it is set up.
func (s *supervisor) followNode(n *runningNode, news *os.File, setUp chan<- struct{}) {
	defer news.Close()
	lines := bufio.NewScanner(news)
	for first := true; lines.Scan(); first = false {
		var report boot.NodeNews
		if err := json.Unmarshal(lines.Bytes(), &report); err != nil {
			continue
		}
		switch {
		case report.Restarted:
			select {
			case n.again <- report.Process:
			default: // nobody waits any more
			}
		case report.Process != "":
			s.processes.ended(component{node: n.Name, name: report.Process}, report.Problem)
		case report.Problem != "":
			s.processes.ended(component{node: n.Name, name: nodeInit}, "could not be set up: "+report.Problem)
		case first:
			close(setUp)
		}
	}
}

// release lets the processes of that name begin, on all nodes that have one.
func (s *supervisor) release(name string) error {
	for _, r := range s.running {
		if err := s.releaseOn(r, name); err != nil {
			return err
		}
	}
	return nil
}

// releaseOn lets a process of a node begin. They are let go in the order of processNames.
func (s *supervisor) releaseOn(r *runningNode, name string) error {
	if !slices.Contains(processNames(r.Node), name) {
		return nil
	}
	s.processes.set(component{node: r.Name, name: name}, stateRunning)
	return r.say(1)
}

// say sends a byte to the node's process 1, which takes it for what is due next.
func (r *runningNode) say(b byte) error {
	if _, err := r.start.Write([]byte{b}); err != nil {
		return fmt.Errorf("telling node %s: %w", r.Name, err)
	}
	return nil
}

// Names of a node's processes.
const (
	kubeletName = "kubelet"
	proxyName   = "kube-proxy"
)

// processNames are the processes of a node; the external one is outside the Service network.
func processNames(n Node) []string {
	if n.External {
		return []string{kubeletName}
	}
	return []string{kubeletName, proxyName}
}

// nodeSpec writes the node's configuration files and says what its process 1 is to do.
func (s *supervisor) nodeSpec(n Node) (*boot.NodeSpec, error) {
	dir := filepath.Join(boot.Base, "nodes", n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	spec := &boot.NodeSpec{Name: n.Name, Sysctls: nodeSysctls(n)}
	kubeletFile, err := s.writeKubeletConfig(dir, n)
	if err != nil {
		return nil, err
	}
	args := map[string][]string{kubeletName: {RoleKubelet, kubeletFile}}
	if !n.External {
		proxyFile := filepath.Join(dir, "kube-proxy.yaml")
		if err := os.WriteFile(proxyFile, []byte(proxyConfig(n, s.config.ProxyMode)), 0o600); err != nil {
			return nil, err
		}
		args[proxyName] = []string{RoleProxy, "--config=" + proxyFile}
		spec.Setup = []boot.Command{masquerade(n, s.config.ProxyMode)}
	}
	for _, name := range processNames(n) {
		c := component{node: n.Name, name: name}
		s.processes.set(c, stateWaiting)
		process := boot.Process{Name: name, Args: args[name], Env: componentEnv(), Log: c.log()}
		if name == proxyName && s.config.ProxyMode == NFTables {
			process.Env = nftablesEnv()
		}
		spec.Processes = append(spec.Processes, process)
	}
	return spec, nil
}

// onlyNFT is a directory with the one program that kube-proxy needs in nftables mode.
const onlyNFT = boot.Base + "/nft"

// nftablesEnv is the environment of a kube-proxy in nftables mode. Where it finds iptables, it first calls that some thirty times
// to take away what another mode may have left, of which there is nothing in a new network namespace.
func nftablesEnv() []string {
	nft, err := exec.LookPath("nft")
	if err == nil {
		err = os.MkdirAll(onlyNFT, 0o755)
	}
	if err == nil {
		err = os.Symlink(nft, filepath.Join(onlyNFT, "nft"))
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return componentEnv() // kube-proxy says best what it lacks
	}
	return envWithPath(onlyNFT)
}

func (s *supervisor) writeKubeletConfig(dir string, n Node) (string, error) {
	cert, key := pairFiles("serving-" + n.Name)
	config := KubeletConfig{
		Name: n.Name, Address: n.Address, PodCIDR: n.PodCIDR,
		Kubeconfig: kubeconfigFile("kubelet-" + n.Name), CAFile: caFile(), CertFile: cert, KeyFile: key,
		ClusterDNS: dnsServiceIP, Domain: clusterDomain, IgnoreUser: s.config.IgnoreUser,
	}
	at := 0
	for _, image := range s.config.Images {
		known := KubeletImage{ImageFile: image, Source: imagePath(at)}
		for i := range image.Libraries {
			known.LibrarySources = append(known.LibrarySources, imagePath(at+1+i))
		}
		at += 1 + len(image.Libraries)
		config.Images = append(config.Images, known)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kubelet.json")
	return path, os.WriteFile(path, data, 0o600)
}

// pipe is both ends of one.
type pipe struct{ r, w *os.File }

func newPipes(n int) ([]pipe, error) {
	pipes := make([]pipe, n)
	for i := range pipes {
		var err error
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	return pipes, nil
}
