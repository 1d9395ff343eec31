package cluster

import (
	"encoding/json"
	"io"
	"sync"
)

// Config is what the launcher hands to the supervisor.
type Config struct {
	Workers    int         // 1 to MaxWorkers
	ProxyMode  string      // nftables or iptables
	HostServer string      // URL under which the host reaches the API server
	Images     []ImageFile // in the order of the inherited files
	IgnoreUser bool        // the user namespace has a single user, so no container can run as another
}

// ImageFile is an image made of one binary, its entrypoint, and of what that needs to run.
type ImageFile struct {
	Name      string   // as pods name it
	Path      string   // of the binary inside the container
	Libraries []string // paths inside the container of shared libraries; their files follow the binary's
	ID        string   // "sha256:" and 64 hex digits; "": the digest of the contents
}

// fileCount is the number of inherited files of images.
func fileCount(images []ImageFile) int {
	n := len(images)
	for _, image := range images {
		n += len(image.Libraries)
	}
	return n
}

// EventKind says what an event of the supervisor is about.
type EventKind string

// The events of a lab's life: any number of steps and waits, then ready, then possibly failed; or failed at once.
const (
	EventStep    EventKind = "step"
	EventWaiting EventKind = "waiting" // what the present step still lacks; for the message when time runs out
	EventReady   EventKind = "ready"
	EventFailed  EventKind = "failed"
)

// Event is one JSON line from the supervisor to the launcher.
type Event struct {
	Kind EventKind `json:"kind"`
	Text string    `json:"text,omitempty"` // the step, or what failed
	Log  string    `json:"log,omitempty"`  // failed: the end of the log of the component that did
}

// Request is what a caller asks over the control socket. One request is one connection; the standard input, output
// and error of a command travel with it as file descriptors.
type Request struct {
	Exec *ExecRequest `json:"exec,omitempty"` // with Node both nil, this asks for the status
	Node *NodeRequest `json:"node,omitempty"`
}

// The actions of a NodeRequest.
const (
	NodeKill         = "kill"          // as by a power cut: all it runs is gone at once, and nothing leaves it any more
	NodeStart        = "start"         // one that was killed, with empty disks; answered when it is ready
	NodeRestartProxy = "restart-proxy" // its kube-proxy ends and another starts
)

// NodeRequest does something to a node.
type NodeRequest struct {
	Node   string `json:"node"`
	Action string `json:"action"` // one of the above
}

// ExecRequest runs a command of the host in the namespaces of a node.
type ExecRequest struct {
	Node    string   `json:"node"`
	Dir     string   `json:"dir"`
	Command []string `json:"command"`
	Env     []string `json:"env"`
}

// Response is the supervisor's one answer to a request.
type Response struct {
	Error  string  `json:"error,omitempty"`
	Exit   int     `json:"exit,omitempty"`   // of a command
	Status *Status `json:"status,omitempty"` // of the lab
}

// States of a lab.
const (
	StateStarting = "starting"
	StateReady    = "ready"
	StateFailed   = "failed"  // it ended by itself
	StateStopped  = "stopped" // there is none
)

// Status describes a lab. JSON field names are part of the command line's contract.
type Status struct {
	State      string            `json:"state"`                // one of the states above
	Problem    string            `json:"problem,omitempty"`    // failed: why
	Log        string            `json:"log,omitempty"`        // failed: the end of the log of what did
	Kubeconfig string            `json:"kubeconfig,omitempty"` // path on the host, once ready
	RunDir     string            `json:"runDir"`
	Mode       string            `json:"mode,omitempty"` // rootless, userns or root
	ProxyMode  string            `json:"proxyMode,omitempty"`
	Nodes      []NodeStatus      `json:"nodes,omitempty"`
	Components []ComponentStatus `json:"components,omitempty"`
}

// NodeStatus is one node of a lab.
type NodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	PodCIDR  string `json:"podCIDR,omitempty"`
	Zone     string `json:"zone,omitempty"`
	External bool   `json:"external,omitempty"`
}

// ComponentStatus is one process of a lab.
type ComponentStatus struct {
	Name  string `json:"name"`
	Node  string `json:"node,omitempty"` // empty: of the control plane
	State string `json:"state"`          // waiting, running or ended
}

// eventWriter sends events; it may be used by several goroutines.
type eventWriter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newEventWriter(w io.Writer) *eventWriter { return &eventWriter{enc: json.NewEncoder(w)} }

// send cannot fail in a way that matters: a launcher that no longer reads has ended, and the lab is ending with it.
func (e *eventWriter) send(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.enc.Encode(event)
}
