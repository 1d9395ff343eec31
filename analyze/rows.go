package analyze

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podskew/podskew/record"
)

// Bounds on what a report carries for its drawings, so that a run of any size fits a page.
const (
	maxConnectionRows = 500 // connections listed one by one
	maxGroups         = 64  // clients or backends told apart in a drawing
	timeSlices        = 60  // columns of a drawing over time
	maxFlowEnds       = 12  // clients, hops or pods told apart in the flow of source addresses
)

// ConnectionRow is one connection: what it was bound to, from when to when.
type ConnectionRow struct {
	Agent    string           `json:"agent"`             // the client it left from
	ID       int              `json:"id"`                // in order of opening, per agent
	Backend  string           `json:"backend,omitempty"` // pod of its first answer; "": nobody answered
	Opened   float64          `json:"opened"`            // seconds since the start of the run
	Closed   float64          `json:"closed"`            // likewise; the end of the run for those that were still open
	Requests int              `json:"requests"`          // answered
	Others   int              `json:"others,omitempty"`  // answers by other pods than Backend
	Error    record.ErrorKind `json:"error,omitempty"`   // how it ended, if not as planned
}

// Group names one thing, or several that a drawing shows as one.
type Group struct {
	Name string `json:"name"`           // of the only one, or of the first
	Last string `json:"last,omitempty"` // of the last, if there are several
	Size int    `json:"size"`
}

// Matrix says which client was served by which backend.
type Matrix struct {
	Clients     []Group `json:"clients"`     // rows: agents; single source addresses where an agent has several
	Backends    []Group `json:"backends"`    // columns: in the order of Stream.Backends
	Requests    [][]int `json:"requests"`    // answered, by client and backend
	Connections [][]int `json:"connections"` // by client and backend of the first answer
}

// OpenConnections says how many connections each backend held over time.
type OpenConnections struct {
	Step     float64     `json:"step"` // seconds per slice
	Backends []Group     `json:"backends"`
	Mean     [][]float64 `json:"mean"` // connections open on average, by backend and slice
}

// Flow is the requests that took one way from a client through a source address to a backend.
type Flow struct {
	Client   string `json:"client"`         // an agent, or a node with its agents
	Class    string `json:"class"`          // of the source address the backend saw
	Hop      string `json:"hop,omitempty"`  // that address, or the node it belongs to; "" where there are many
	Backend  string `json:"backend"`        // a pod, or a node with its pods
	Requests int    `json:"requests"`       // answered
	Node     string `json:"node,omitempty"` // the backend's
}

// draw fills in what a report's drawings of a stream need beyond its tables.
func (t *traffic) draw(rec *record.Record, s *Stream) {
	end := secondsOf(rec)
	if len(t.rows) <= maxConnectionRows {
		for _, c := range t.rows {
			s.ConnectionRows = append(s.ConnectionRows, connectionRow(c, end))
		}
	}
	groups, at := grouped(s.Backends, func(b Backend) string { return b.Pod })
	if len(t.rows) > maxConnectionRows && end > 0 {
		s.OpenConnections = t.openOverTime(groups, at, end)
	}
	s.Matrix = t.matrix(groups, at)
	s.Flows = t.flows(s)
	s.UnitLoads = t.unitLoads()
}

func connectionRow(c *record.Connection, end float64) ConnectionRow {
	return ConnectionRow{
		Agent: c.Agent, ID: c.ID, Backend: c.Backend, Opened: c.Opened, Closed: cmp.Or(c.Closed, max(end, c.Opened)),
		Requests: c.Requests, Others: othersOf(c), Error: c.Error,
	}
}

// grouped puts neighbours together where there are more than maxGroups, and returns which group each name is in.
func grouped[T any](list []T, name func(T) string) (groups []Group, at map[string]int) {
	at = make(map[string]int, len(list))
	count := min(len(list), maxGroups)
	for i, one := range list {
		k := i * count / len(list)
		if k == len(groups) {
			groups = append(groups, Group{Name: name(one)})
		} else {
			groups[k].Last = name(one)
		}
		groups[k].Size++
		at[name(one)] = k
	}
	return groups, at
}

// openOverTime spreads each connection over the slices of the run in which it was open.
func (t *traffic) openOverTime(groups []Group, at map[string]int, end float64) *OpenConnections {
	o := &OpenConnections{Step: end / timeSlices, Backends: groups, Mean: table[float64](len(groups), timeSlices)}
	for _, c := range t.rows {
		k, known := at[c.Backend]
		if !known {
			continue
		}
		from, to := max(c.Opened, 0), min(cmp.Or(c.Closed, end), end)
		for i := max(int(from/o.Step), 0); i < timeSlices && float64(i)*o.Step < to; i++ {
			left, right := max(from, float64(i)*o.Step), min(to, float64(i+1)*o.Step)
			o.Mean[k][i] += max(right-left, 0) / o.Step
		}
	}
	return o
}

func table[T any](rows, columns int) [][]T {
	out := make([][]T, rows)
	for i := range out {
		out[i] = make([]T, columns)
	}
	return out
}

// matrix counts requests and connections by client and backend. Tallies are complete, so requests come from them; only where
// an agent has several source addresses are they told apart by the rows of its connections.
func (t *traffic) matrix(groups []Group, at map[string]int) *Matrix {
	if len(groups) == 0 {
		return nil
	}
	several := t.agentsOfSeveralAddresses()
	client := func(c *record.Connection) string {
		if several[c.Agent] {
			return fmt.Sprintf("%s %s", c.Agent, addressOf(c.Local))
		}
		return c.Agent
	}
	clients, row := grouped(t.clientNames(client), func(s string) string { return s })
	m := &Matrix{Clients: clients, Backends: groups, Requests: table[int](len(clients), len(groups)), Connections: table[int](len(clients), len(groups))}
	count := func(into [][]int, client, pod string, n int) {
		i, there := row[client]
		if k, known := at[pod]; there && known {
			into[i][k] += n
		}
	}
	for _, c := range t.rows {
		count(m.Connections, client(c), c.Backend, 1)
		if !several[c.Agent] {
			continue
		}
		count(m.Requests, client(c), c.Backend, c.Requests-othersOf(c))
		for pod, n := range c.Others {
			count(m.Requests, client(c), pod, n)
		}
	}
	for _, s := range t.strata {
		for pod, a := range s.answered {
			if !several[s.agent.Name] {
				count(m.Requests, s.agent.Name, pod, a.requests)
			}
		}
	}
	return m
}

func othersOf(c *record.Connection) int {
	n := 0
	for _, k := range c.Others {
		n += k
	}
	return n
}

// clientNames returns the rows of a matrix in order.
func (t *traffic) clientNames(client func(*record.Connection) string) []string {
	var names []string
	for _, s := range t.strata {
		names = append(names, s.agent.Name)
	}
	split := map[string]bool{}
	for _, c := range t.rows {
		name := client(c)
		if name != c.Agent && c.Local == "" {
			continue // it never left
		}
		split[c.Agent] = split[c.Agent] || name != c.Agent
		names = append(names, name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return split[name] })
	slices.SortFunc(names, byNumber)
	return slices.Compact(names)
}

// byNumber orders names that differ in a number at their end by that number.
func byNumber(a, b string) int {
	const digits = "0123456789"
	x, y := strings.TrimRight(a, digits), strings.TrimRight(b, digits)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(len(strings.TrimLeft(a[len(x):], "0")), len(strings.TrimLeft(b[len(y):], "0"))), cmp.Compare(a, b))
}

// agentsOfSeveralAddresses finds the agents whose connections left from more than one address.
func (t *traffic) agentsOfSeveralAddresses() map[string]bool {
	first, several := map[string]string{}, map[string]bool{}
	for _, c := range t.rows {
		address := addressOf(c.Local)
		if address == "" {
			continue
		}
		if have, seen := first[c.Agent]; !seen {
			first[c.Agent] = address
		} else if have != address {
			several[c.Agent] = true
		}
	}
	return several
}

// addressOf returns the address of an ip:port, "" if it is none.
func addressOf(ipPort string) string {
	ap, err := netip.ParseAddrPort(ipPort)
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().String()
}

// flows follows the answered requests from the clients through the addresses the pods saw. Ends that are too many to be told
// apart are put together by node, and nodes that are too many as well.
func (t *traffic) flows(s *Stream) []Flow {
	client, hop, pod := t.flowNames(s)
	sums := map[Flow]int{}
	for _, st := range t.strata {
		for key, n := range st.sources {
			class, node := classify(t.facts, t.plan, st.agent, st.addr, key.observed)
			on := t.nodeOf(key.pod)
			f := Flow{Client: client(st.agent.Name, st.agent.Node), Class: string(class), Hop: hop(key.observed, node), Backend: pod(key.pod, on)}
			if f.Backend == key.pod {
				f.Node = on
			}
			sums[f] += n
		}
	}
	var flows []Flow
	for f, n := range sums {
		f.Requests = n
		flows = append(flows, f)
	}
	slices.SortFunc(flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Hop, b.Hop), cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Node, b.Node))
	})
	return bounded(flows)
}

// flowNames returns how the three ends of a flow are told apart.
func (t *traffic) flowNames(s *Stream) (client, hop, pod func(name, node string) string) {
	agents, agentNodes, hops, hopNodes, podNodes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, st := range t.strata {
		agents[st.agent.Name], agentNodes[st.agent.Node] = true, true
	}
	for _, source := range s.Sources {
		hops[source.Address], hopNodes[source.Node] = true, true
	}
	for _, b := range s.Backends {
		podNodes[b.Node] = true
	}
	return told("clients", len(agents), len(agentNodes)), told("", len(hops), len(hopNodes)), told("pods", len(s.Backends), len(podNodes))
}

// told names one of so many things on so many nodes.
func told(things string, count, nodes int) func(name, node string) string {
	return func(name, node string) string {
		switch {
		case count <= maxFlowEnds:
			return name
		case nodes > maxFlowEnds && things == "":
			return ""
		case nodes > maxFlowEnds:
			return fmt.Sprintf("%d %s", count, things)
		case things == "":
			return node
		default:
			return things + " on " + cmp.Or(node, "no known node")
		}
	}
}

// maxFlows is how many ways a report lists.
const maxFlows = 400

// bounded keeps the ways most requests took, in their order, and puts the rest together by class.
func bounded(flows []Flow) []Flow {
	if len(flows) <= maxFlows {
		return flows
	}
	bySize := slices.Clone(flows)
	slices.SortStableFunc(bySize, func(a, b Flow) int { return cmp.Compare(b.Requests, a.Requests) })
	kept := map[Flow]bool{}
	for _, f := range bySize[:maxFlows] {
		kept[f] = true
	}
	rest := map[string]int{}
	var out []Flow
	for _, f := range flows {
		if kept[f] {
			out = append(out, f)
		} else {
			rest[f.Class] += f.Requests
		}
	}
	classes := make([]string, 0, len(rest))
	for class := range rest {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	for _, class := range classes {
		out = append(out, Flow{Client: "other clients", Class: class, Backend: "other pods", Requests: rest[class]})
	}
	return out
}
