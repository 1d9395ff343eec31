// Package cluster deploys the echo pods, the Service and the agents of a run into any cluster a kubeconfig
// leads to, observes them, and removes them again. It is the only package that speaks to an API server.
//
// Everything of a run lives in one namespace, podskew-<run id>, which carries the run's labels and a Lease that the
// running podskew renews, so that what a crashed run left behind can be told from a run that is still alive.
package cluster

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/podskew/podskew/scenarios"
)

// DefaultImage is the image of podskew's own pods when a deployment names none: the one the lab carries.
const DefaultImage = "podskew.dev/pod:dev"

// Config says which cluster to speak to.
type Config struct {
	// Kubeconfig is a path. "" follows kubectl: $KUBECONFIG, else ~/.kube/config, else the pod's own service account.
	Kubeconfig string
	// Context is the kubeconfig context. "" is its current one.
	Context string
	// Provider is what facts and reports call the cluster: lab, kind or current. "" is current.
	Provider string
	// UserAgent is what the API server logs. "" is client-go's default.
	UserAgent string
}

// Cluster is a connection to one API server. It is safe for concurrent use and needs no closing.
type Cluster struct {
	client   kubernetes.Interface
	dynamic  dynamic.Interface // for what Kubernetes has no types of
	http     *http.Client      // the same credentials, without client-side limits: for streams through the API server
	base     *url.URL          // of the API server
	provider string
	context  string // the kubeconfig's
	version  string // of the API server
	notes    *notes
}

// Version is the API server's version, such as v1.36.3.
func (c *Cluster) Version() string { return c.version }

// Server is the API server's URL.
func (c *Cluster) Server() string { return c.base.String() }

// Context is the kubeconfig context in use; "" inside a pod.
func (c *Cluster) Context() string { return c.context }

// Notes returns what the API server warned about and which facts could not be read, each sentence once, in the
// order of first appearance. None of it stopped anything.
func (c *Cluster) Notes() []string { return c.notes.list() }

// notes collects sentences, each once.
type notes struct {
	mu   sync.Mutex
	seen map[string]bool
	all  []string
}

func (n *notes) add(sentence string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[sentence] {
		return
	}
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[sentence] = true
	n.all = append(n.all, sentence)
}

func (n *notes) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// Deployment is what Deploy puts into the cluster.
type Deployment struct {
	// RunID identifies the run. It becomes part of names: lower-case letters, digits and dashes, up to 40 characters.
	RunID string
	// Scenario says what to deploy. Deploy only reads it.
	Scenario *scenarios.Scenario
	// Image is the podskew-pod image. "" is DefaultImage.
	Image string
	// GatewayImages are the images of gateways, by proxy: caddy, haproxy, nginx. A proxy that is not named has its official
	// image, on the lab the one that the lab makes of what is installed on its machine.
	GatewayImages map[string]string
	// ImagePullPolicy is Always, IfNotPresent or Never. "" is IfNotPresent.
	ImagePullPolicy string
	// Tolerations let echo pods and agents onto tainted nodes, which then count among those that take pods.
	Tolerations []Toleration
	// NodeSelector are labels that nodes must have to take echo pods and agents, or to be dialled, unless the scenario
	// names them. Nodes set apart for external clients are not subject to it. nil: none.
	NodeSelector map[string]string
	// NodeSubnet is the network that the nodes' addresses are of. Agents outside the cluster that are to have several
	// addresses take free ones of it, for the time of the run, unless their node's annotation podskew.dev/addresses names a
	// range for them. Invalid: it is not known, and such agents are refused.
	NodeSubnet netip.Prefix
	// Machines does to nodes what no API server can. nil: events that need it are refused, and kube-proxies are restarted by
	// deleting their pods.
	Machines Machines
	// Expiry is how long after their start agents end by themselves, whatever happens to podskew. 0 is one hour.
	Expiry time.Duration
	// Timeout bounds the wait until everything is ready. 0 is two minutes.
	Timeout time.Duration
	// Keep leaves what was made when Deploy fails: for a cluster that ends anyway. Otherwise Deploy removes it.
	Keep bool
	// Holder tells people whose run this is, such as "ann@laptop, pid 4711". "" is podskew.
	Holder string
}

// CleanOptions say what Clean may remove.
type CleanOptions struct {
	// All removes the namespaces of runs that are still alive, too.
	All bool
}

// Cleaned is what became of one run's namespace in Clean.
type Cleaned struct {
	Namespace string
	Run       string
	Removed   bool
	Reason    string // a sentence: why it was removed or left alone
}

// AgentState is what the API server knows about an agent's pod.
type AgentState struct {
	// Running is true while the agent's container runs on a node that is there.
	Running bool
	// Detail is a sentence: how and why it ended, or that it is running.
	Detail string
}

// Probe asks the agent to open one new connection to address (ip:port), and returns nil if it was answered.
type Probe func(ctx context.Context, agent, address string) error
