package analyze

import (
	"fmt"

	"github.com/podskew/podskew/record"
)

// The policies of a mesh that gateways do not have, as facts name them.
const (
	policyLeastRequest = "leastRequest"
	policyCookieHash   = "cookieHash"
)

// bySidecar is the one that chooses, in sentences.
const bySidecar = "the client's sidecar"

// mesh is the mesh whose sidecars choose for a stream in kube-proxy's place; nil: none does. Only pods have sidecars, and these go
// by the cluster IP.
func (a *atlas) mesh(st *record.Stream) *record.Mesh {
	if m := a.facts.Mesh; m != nil && st.Target == "clusterIP" && st.Vantage == "pod" && st.Service == m.Service {
		return m
	}
	return nil
}

// mesh is the one whose sidecars choose for the stream; nil: none does.
func (t *traffic) mesh() *record.Mesh { return t.now.mesh(t.plan) }

// dealtBySidecar is a choice that the sidecar in the client's pod makes, for each request or session. It dials the pod's own
// address, so that no policy of the Service binds. The sidecar in the echo pod ends that connection, too: the pod sees its own
// loopback, whoever the client is.
func (p path) dealtBySidecar(m *record.Mesh) Prediction {
	endpoints, _ := p.endpointsOf(p.service.Name, hostOf(""))
	ready := onePerPod(p.atlas, keep(endpoints, func(e record.Endpoint) bool { return e.Ready }))
	if len(ready) == 0 {
		return p.unknown("there is no ready pod for the client's sidecar to choose, and what it answers then is its own affair")
	}
	r := Prediction{Decider: p.ownNode()}
	r.Unit, r.Reason, r.Untested = p.meshPolicy(m, len(ready))
	return p.spread(r, ready, func(record.Endpoint) SourceClass { return Loopback })
}

// meshPolicy says what a sidecar chooses a pod for, how, and why chance has no part in it where it has none.
func (p path) meshPolicy(m *record.Mesh, n int) (unit, reason, untested string) {
	session := p.stream.Session
	switch m.Policy {
	case policyRandom:
		return unitRequest, fmt.Sprintf("%s draws one of %d pods for each request", bySidecar, n), ""
	case policyTurns:
		return unitRequest, fmt.Sprintf("%s deals requests to %d pods in turn", bySidecar, n),
			"each worker of each sidecar takes turns of its own, so counting decides and not chance"
	case policyLeastRequest:
		return unitRequest, fmt.Sprintf("%s draws two of %d pods for each request, and takes the one with fewer under way", bySidecar, n),
			"how many requests are under way at each pod decides, and not chance alone"
	case policyHeader:
		return p.hashedHeader(bySidecar, m.Header, n, false)
	case policyCookieHash:
		reason := fmt.Sprintf("%s hashes the cookie %s onto %d pods, and makes one where there is none", bySidecar, m.Cookie, n)
		if session == nil || !session.Cookie {
			return unitRequest, reason, "clients do not send the cookie back, so each request is a first one"
		}
		return unitSession, reason, onARing
	}
	return unitRequest, fmt.Sprintf("%s chooses among %d pods by %s", bySidecar, n, m.Policy), "a hash of the client's address decides, and not chance"
}
