package cluster

import (
	"context"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/podskew/podskew/record"
)

// Run is one deployed run. It renews the run's Lease until Remove or Close; one of the two must be called. Its methods
// are safe for concurrent use.
type Run struct {
	c      *Cluster
	d      Deployment // with defaults
	layout *layout
	token  string // what agents demand of every plan
	keeper *keeper

	service  *corev1.Service            // spec.service, as the API server completed it
	services map[string]*corev1.Service // all under test, by name
	canary   *corev1.Service
	// canaryName is the canary without an address, where there are two; else the same as canary.
	canaryName *corev1.Service
	gateway    *corev1.Service // in front of the gateway; nil: there is none
	sidecar    string          // image of the pods' sidecars; "": they have none
	streams    []record.Stream
	pods       []netip.Addr // of the ready endpoints, sorted; nil unless they are dialled

	echoToken string // what echo pods demand of those who change their readiness or pace

	mu         sync.Mutex
	programmed map[string]bool   // node → its rules answered for the canary
	replicas   *int              // that a scale event asked for; nil: none has
	swapped    bool              // the Services select the pods in standby
	cordoned   map[string]bool   // nodes, by this run
	killed     map[string]bool   // nodes, and not started yet
	echoNodes  map[string]string // by echo pod, when they were listed last

	canaryMu sync.Mutex
	opened   []port // of events, in the canary's EndpointSlice
}

// Namespace is where everything of the run is.
func (r *Run) Namespace() string { return namespaceOf(r.d.RunID) }

// Close stops renewing the run's Lease and leaves everything deployed: for a cluster that is torn down anyway, and
// for people who want to look. A later Clean takes the run for dead. Close may be called more than once.
func (r *Run) Close() { r.keeper.stop() }

// Remove deletes the run's namespace with all that is in it, and waits until it is gone; that takes five seconds at
// least, since the namespace controller waits that long before it starts. Without a deadline on ctx it gives up after
// a minute. What is gone already is no error.
func (r *Run) Remove(ctx context.Context) error {
	r.Close()
	return r.c.removeNamespace(ctx, r.Namespace())
}
