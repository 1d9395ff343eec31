package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podskew/podskew/analyze"
)

// plantedScenario is fresh connections from three nodes, and what is true of them as long as nobody meddles. What is asked from three
// seconds on is asked of the time after a fault was planted.
const plantedScenario = `apiVersion: podskew.dev/v1alpha1
kind: Scenario
metadata:
  name: planted
  description: Fresh connections from three nodes, and what must be true of them.
spec:
  echo:
    placement: {worker: 2, worker2: 2, worker3: 2}
  service:
    type: ClusterIP
  clients:
    - {name: web, vantage: pod, count: 3, target: clusterIP, connections: 8, requestsPerConnection: 1, rate: 200, duration: 6s}
  expect:
    - {metric: errors.total, stream: web, equals: 0}
    - {metric: sources.unexpected, stream: web, equals: 0}
    - {metric: backends, stream: web, equals: 6, from: 3s}
    - {distribution: even, stream: web, from: 3s, confidence: 0.9999}
    - {distribution: expected, stream: web, from: 3s, confidence: 0.9999}
    - {shares: {worker: 0.33333, worker2: 0.33333, worker3: 0.33333}, stream: web, from: 3s, confidence: 0.9999}
`

// stickyScenario is the same with clients that keep their pods.
func stickyScenario() string {
	s := strings.Replace(plantedScenario, "type: ClusterIP\n", "type: ClusterIP\n    sessionAffinity: ClientIP\n", 1)
	return s[:strings.Index(s, "  expect:")] + `  expect:
    - {metric: errors.total, stream: web, equals: 0}
    - {metric: affinity.held, stream: web, equals: 1}
    - {finding: AffinityHeld, stream: web}
`
}

// Faults that something else than podskew plants in the cluster while a run goes on make the expectations fail that are about them, and
// what is said about it names the area of the cause. The same runs without a fault pass.
func TestPlantedFaults(t *testing.T) {
	c := newCLI(t)
	c.lab(t, "nftables")
	api := newAPI(t, c)
	for _, fault := range []struct {
		name, scenario string
		plant          func(t *testing.T, run *planted)
		failed         []string // names of expectations that have to fail
		words          []string // that one of these says
	}{
		{name: "none", scenario: plantedScenario},
		{name: "none, under affinity", scenario: stickyScenario()},
		{
			name: "a pod taken out of the endpoints", scenario: plantedScenario, plant: unselect,
			failed: []string{"backends equals 6 from 3s (web)", "distribution even from 3s at 0.9999 (web)"},
			words:  []string{"backends is 5", "MissingEndpoint", "is ready and yet no endpoint of the Service", "{pod} on worker2"},
		},
		{
			name: "a pod that refuses", scenario: plantedScenario, plant: refuse,
			failed: []string{"errors.total equals 0 (web)", "backends equals 6 from 3s (web)"},
			words:  []string{"FailingBackend", "{pod} on worker2 is behind all failures", "refused"},
		},
		{
			name: "affinity switched off", scenario: stickyScenario(), plant: switchOff,
			failed: []string{"affinity.held equals 1 (web)", "finding AffinityHeld (web)"},
			words:  []string{"pairs of a client's successive connections", "sessionAffinity ClientIP → None"},
		},
		{
			name: "a masquerade rule on one node", scenario: plantedScenario, plant: masquerade,
			failed: []string{"sources.unexpected equals 0 (web)"},
			words:  []string{"SourceIPLost", "worker2"},
		},
		{
			name: "an unequal rule on one node", scenario: plantedScenario, plant: unequal,
			failed: []string{"distribution expected from 3s at 0.9999 (web)", "distribution even from 3s at 0.9999 (web)"},
			words:  []string{"UnexplainedSkew", "only where kube-proxy on worker2 chose"},
		},
	} {
		t.Run(fault.name, func(t *testing.T) {
			run := &planted{cli: c, api: api}
			rep := run.play(t, fault.scenario, fault.plant)
			checkPlanted(t, rep, fault.failed, fault.words, run.pod)
		})
	}
}

// checkPlanted makes sure that just what has to fail fails, among them what says the words.
func checkPlanted(t *testing.T, rep *analyze.Report, failed, words []string, pod string) {
	t.Helper()
	var said []string
	results := map[string]analyze.ExpectationResult{}
	for _, x := range rep.Expectations {
		results[x.Name] = x
		if !x.Passed {
			said = append(said, x.Name+": "+x.Detail)
		}
	}
	if rep.Passed != (len(failed) == 0) {
		t.Errorf("the report says passed %v:\n%s", rep.Passed, strings.Join(said, "\n"))
	}
	for _, name := range failed {
		if x, there := results[name]; !there || x.Passed {
			t.Errorf("%q did not fail: %+v", name, x)
		}
	}
	text := strings.Join(said, "\n")
	t.Log(text)
	for _, word := range words {
		if word = strings.ReplaceAll(word, "{pod}", pod); !strings.Contains(text, word) {
			t.Errorf("nothing says %q:\n%s", word, text)
		}
	}
}

// planted is a run in which a fault is planted.
type planted struct {
	*cli
	api       *api
	namespace string
	pod, ip   string // of an echo pod on worker2
	chain     string // of worker2's kube-proxy that was changed; "" none
	rules     string // of that chain, when the load had ended
}

// play starts a run, waits until load is sent, plants the fault and returns the report.
func (p *planted) play(t *testing.T, scenario string, plant func(*testing.T, *planted)) *analyze.Report {
	t.Helper()
	path := filepath.Join(t.TempDir(), "planted.yaml")
	if err := os.WriteFile(path, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	progress := newAwaited("Sending load", "✓ Sending load")
	cmd := p.command(t, "run", path, "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, progress
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-progress.first:
	case err := <-ended:
		t.Fatalf("the run ended before it sent load: %v\n%s", err, progress.all())
	}
	if plant != nil {
		p.find(t)
		plant(t, p)
	}
	if p.chain != "" {
		select {
		case <-progress.second:
			p.rules = p.on(t, "worker2", "nft", "list", "chain", "ip", "kube-proxy", p.chain)
		case err := <-ended:
			ended <- err
		}
	}
	var exit *exec.ExitError
	if err := <-ended; err != nil && !errors.As(err, &exit) || !strings.HasPrefix(out.String(), "{") {
		t.Fatalf("%v\n%s\n%s", err, out.String(), progress.all())
	}
	return reportOf(t, out.String())
}

// awaited keeps what is written to it and tells when one text, and another, was in it.
type awaited struct {
	first, second chan struct{}

	mu    sync.Mutex
	have  bytes.Buffer
	texts []string
	tell  []chan struct{}
}

func newAwaited(first, second string) *awaited {
	a := &awaited{first: make(chan struct{}), second: make(chan struct{}), texts: []string{first, second}}
	a.tell = []chan struct{}{a.first, a.second}
	return a
}

func (a *awaited) Write(data []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, _ := a.have.Write(data)
	for len(a.texts) > 0 && strings.Contains(a.have.String(), a.texts[0]) {
		close(a.tell[0])
		a.texts, a.tell = a.texts[1:], a.tell[1:]
	}
	return n, nil
}

func (a *awaited) all() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.have.String()
}

// find looks up the run's namespace and an echo pod on worker2.
func (p *planted) find(t *testing.T) {
	t.Helper()
	var pods struct {
		Items []struct {
			Metadata struct{ Name, Namespace string }
			Spec     struct{ NodeName string }
			Status   struct {
				PodIP string
				Phase string
			}
		}
	}
	p.api.do(t, http.MethodGet, "/api/v1/pods?labelSelector=podskew.dev%2Fserves%3Dactive", nil, &pods)
	for _, pod := range pods.Items {
		if pod.Spec.NodeName == "worker2" && pod.Status.Phase == "Running" {
			p.namespace, p.pod, p.ip = pod.Metadata.Namespace, pod.Metadata.Name, pod.Status.PodIP
		}
	}
	if p.pod == "" {
		t.Fatal("there is no echo pod on worker2")
	}
}

// on runs a command in the namespaces of a node.
func (p *planted) on(t *testing.T, node string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.bin, "podskew-lab"), append([]string{"exec", node, "--"}, args...)...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %s: %v\n%s", strings.Join(args, " "), node, err, out)
	}
	return string(out)
}

// table adds a table of its own to a node's rules, and takes it away when the test ends.
func (p *planted) table(t *testing.T, node, rules string) {
	t.Helper()
	p.on(t, node, "nft", "table ip planted {\nchain planted {\n"+rules+"\n}\n}")
	t.Cleanup(func() {
		cmd := exec.Command(filepath.Join(p.bin, "podskew-lab"), "exec", node, "--", "nft", "delete table ip planted")
		cmd.Env = p.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("taking the rules away: %v\n%s", err, out)
		}
	})
}

func unselect(t *testing.T, p *planted) {
	t.Helper()
	p.api.do(t, http.MethodPatch, "/api/v1/namespaces/"+p.namespace+"/pods/"+p.pod, map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"podskew.dev/serves": nil}},
	}, nil)
}

func switchOff(t *testing.T, p *planted) {
	t.Helper()
	p.api.do(t, http.MethodPatch, "/api/v1/namespaces/"+p.namespace+"/services/echo", map[string]any{
		"spec": map[string]any{"sessionAffinity": "None", "sessionAffinityConfig": nil},
	}, nil)
}

func refuse(t *testing.T, p *planted) {
	t.Helper()
	p.table(t, "worker2", "type filter hook forward priority 0; ip daddr "+p.ip+" meta l4proto tcp tcp flags syn reject with tcp reset")
}

func masquerade(t *testing.T, p *planted) {
	t.Helper()
	p.table(t, "worker2", "type nat hook postrouting priority 90; ip saddr 10.78.0.0/16 ip daddr 10.78.0.0/16 masquerade")
}

// choices is the rule by which kube-proxy in nftables mode chooses among the endpoints of the run's Service, and one of them.
var choices = regexp.MustCompile(`(meta l4proto tcp dnat ip to) numgen random mod 6 map \{([^}]*)\} # handle (\d+)`)

// unequal gives the first endpoint three parts of eight on one node. kube-proxy writes a chain anew only when its endpoints change, which
// they do not while the run goes on; that it did not is checked.
func unequal(t *testing.T, p *planted) {
	t.Helper()
	chain := ""
	for line := range strings.Lines(p.on(t, "worker2", "nft", "list", "chains", "ip")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "chain service-"); ok && strings.Contains(name, p.namespace+"/echo/tcp/http ") {
			chain = "service-" + strings.TrimSuffix(name, " {")
		}
	}
	rules := p.on(t, "worker2", "nft", "-a", "list", "chain", "ip", "kube-proxy", chain)
	found := choices.FindStringSubmatch(rules)
	if found == nil {
		t.Fatalf("no choice among six in chain %q:\n%s", chain, rules)
	}
	first := regexp.MustCompile(`0 : ([^,]+),`).FindStringSubmatch(found[2])
	if first == nil {
		t.Fatalf("no first endpoint in %q", found[2])
	}
	uneven := fmt.Sprintf("%s numgen random mod 8 map { %s, 6 : %s, 7 : %s }", found[1], strings.TrimSpace(found[2]), first[1], first[1])
	p.on(t, "worker2", "nft", fmt.Sprintf("replace rule ip kube-proxy %s handle %s %s", chain, found[3], uneven))
	t.Cleanup(func() {
		if rules := p.rules; !strings.Contains(rules, "numgen random mod 8") {
			t.Errorf("kube-proxy wrote its rules anew while the run went on:\n%s", rules)
		}
	})
	p.chain = chain
}

// api is the lab's API server, as its administrator.
type api struct {
	server string
	client *http.Client
}

// newAPI takes server and certificates from the lab's kubeconfig.
func newAPI(t *testing.T, c *cli) *api {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.bin, "podskew-lab"), "status")
	cmd.Env = c.env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	field := func(text, pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("no %s in\n%s", pattern, text)
		}
		return found[1]
	}
	data, err := os.ReadFile(field(string(out), `(?m)^kubeconfig\s+(\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	decoded := func(key string) []byte {
		value, err := base64.StdEncoding.DecodeString(field(string(data), key+`-data: (\S+)`))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	pair, err := tls.X509KeyPair(decoded("client-certificate"), decoded("client-key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(decoded("certificate-authority"))
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{server: field(string(data), `server: (\S+)`), client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// do sends a request, a merge patch if it has a body, and reads the answer.
func (a *api) do(t *testing.T, method, path string, body, into any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, a.server+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v\n%s", method, path, resp.Status, err, answer)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer, into); err != nil {
		t.Fatal(err)
	}
}
