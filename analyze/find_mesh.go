package analyze

import "fmt"

// tracedFrom is how many requests beyond the first of their connections it takes to miss a sidecar's trace: of two pods, a draw for
// each request takes the same one throughout in one run of a million.
const tracedFrom = 20

// pastSidecars says that the clients' sidecars left no trace, so that kube-proxy may have chosen: every connection kept to one pod,
// and the pods saw the clients' own addresses. Where a pod is drawn for each request the first is enough. Turns may meet a
// connection at the same pod each time, and a hash has to.
func (j *judge) pastSidecars(s *subject) {
	m := s.mesh()
	if m == nil || len(s.backends) < 2 {
		return
	}
	own, all := 0, 0
	for _, src := range s.report.Sources {
		all += src.Requests
		if src.Class == string(Client) {
			own += src.Requests
		}
	}
	connections, further := 0, 0
	for _, c := range s.rows {
		if len(c.Others) > 0 {
			return
		}
		if c.Requests > 0 {
			connections, further = connections+1, further+c.Requests-1
		}
	}
	drawn := m.Policy == policyRandom || m.Policy == policyLeastRequest
	if further < tracedFrom || !drawn && own < all {
		return
	}
	seen := ""
	if own == all {
		seen = ", and the pods saw the clients' own addresses"
	}
	j.add(Finding{
		Code: MeasurementArtefact, Severity: Warning, Stream: s.name,
		Summary: fmt.Sprintf("the clients' sidecars left no trace: all requests of each of %s went to one pod%s; that is how kube-proxy chooses, and the shares may be its own and not the mesh's",
			plural(connections, "connection", "connections"), seen),
		Evidence: map[string]any{"connections": connections, "requests": connections + further, "policy": m.Policy, "ownAddresses": own},
		Remedies: []Remedy{
			{What: "see whether traffic is led through the sidecars: Istio's init container or CNI plugin does that, and the mesh's defaults or annotations (traffic.sidecar.istio.io/…) can leave out addresses and ports"},
			{What: "with interceptionMode TPROXY pods see clients' addresses all the same: then only a choice for each request leaves a trace"},
		},
	})
}
