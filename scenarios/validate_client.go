package scenarios

import (
	"fmt"
	"strings"
)

func validateClients(s *Scenario, p *problems) {
	switch n := len(s.Spec.Clients); {
	case n == 0:
		p.add("spec.clients", "missing: name at least one client, with target, connections, and duration or requests")
		return
	case n > maxClientGroups:
		p.add("spec.clients", "%d groups of clients: at most %d", n, maxClientGroups)
		return
	}
	names := map[string]int{}
	clients, connections := 0, 0
	for i := range s.Spec.Clients {
		c := &s.Spec.Clients[i]
		path := fmt.Sprintf("spec.clients[%d]", i)
		if first, seen := names[c.Name]; seen && c.Name != "" {
			p.add(path+".name", "%q is already the name of spec.clients[%d]", c.Name, first)
		} else {
			names[c.Name] = i
		}
		validateStand(c, path, p)
		validateDialled(s, c, path, p)
		validatePlan(c, path, p)
		validateProtocol(c, path, p)
		validateConnections(c, path, p)
		validateOpenLoop(c, path, p)
		clients += max(0, c.Count)
		connections += max(0, c.Count) * max(0, c.Connections)
	}
	if clients > maxClients {
		p.add("spec.clients", "%d clients in all: at most %d", clients, maxClients)
	}
	if connections > maxConnections {
		p.add("spec.clients", "%d connections in all (clients × connections): at most %d", connections, maxConnections)
	}
}

// validateStand checks who a group of clients is and where it stands.
func validateStand(c *Client, path string, p *problems) {
	if c.Name == "" {
		p.add(path+".name", "missing: write a name, such as name: web")
	} else {
		checkName(p, path+".name", c.Name, maxClientNameLength)
	}
	vantages().check(p, path+".vantage", string(c.Vantage))
	validateSources(c, path, p)
	validateLocalPorts(c, path+".localPorts", p)
	validateSourcePorts(c, path+".sourcePorts", p)
	checkRange(p, path+".count", c.Count, 1, maxClients)
	if c.Node != "" {
		checkNodeName(p, path+".node", c.Node)
	}
	if c.Count > 1 && c.Node != "" && (c.Vantage == VantageNode || c.Vantage == VantageExternal) {
		p.add(path+".count", "%d clients on one node's network would share its address: write count: 1 and more connections, or remove node",
			c.Count)
	}
}

// validateSources checks how many addresses each client sends from.
func validateSources(c *Client, path string, p *problems) {
	path += ".sourceAddresses"
	if !p.src.has(path) {
		return
	}
	checkRange(p, path, c.SourceAddresses, 1, maxSourceAddresses)
	switch {
	case c.SourceAddresses <= 1, c.SourceAddresses > maxSourceAddresses:
	case c.Vantage != VantageExternal:
		p.add(path, "only clients outside the cluster can take several addresses: write vantage: external, or count: %d for clients with an address each",
			c.SourceAddresses)
	case c.Connections > 0 && c.Connections < c.SourceAddresses:
		p.add(path, "%d connections leave some of %d addresses unused: write at least connections: %d", c.Connections, c.SourceAddresses, c.SourceAddresses)
	}
}

// validateLocalPorts checks how many source ports each client has: a setting of its own network namespace.
func validateLocalPorts(c *Client, path string, p *problems) {
	if !p.src.has(path) {
		return
	}
	checkRange(p, path, c.LocalPorts, minLocalPorts, maxLocalPorts)
	switch {
	case c.Vantage != VantagePod:
		p.add(path, "clients on a node's network have the node's ports: write vantage: pod, or remove it")
	case c.InEcho:
		p.add(path, "load from inside the echo pods has their ports: remove it or inEcho")
	}
}

// validateSourcePorts checks which ports connections leave from, and that there is one for each.
func validateSourcePorts(c *Client, path string, p *problems) {
	r := c.SourcePorts
	if r == nil {
		return
	}
	for _, end := range []struct {
		field string
		value int
	}{{"from", r.From}, {"to", r.To}} {
		if !p.src.has(path + "." + end.field) {
			p.add(path+"."+end.field, "missing: write both ends of the range, such as sourcePorts: {from: 600, to: 1023}")
			return
		}
		checkRange(p, path+"."+end.field, end.value, 1, maxPort)
	}
	addresses := max(c.SourceAddresses, 1)
	ports, sharing := r.To-r.From+1, (c.Connections+addresses-1)/addresses
	switch {
	case ports < 1:
		p.add(path, "%d to %d is no range: write the lower port first", r.From, r.To)
	case c.Vantage != VantageExternal:
		p.add(path, "only clients outside the cluster choose their ports: write vantage: external, or remove it")
	case c.Protocol == ProtocolUDP || c.Protocol == ProtocolGRPC:
		p.add(path, "%s clients leave the choice to the kernel here: write protocol: http1, http2, websocket or tcp, or remove it", c.Protocol)
	case c.Count > 1 && addresses == 1:
		p.add(path, "%d clients on one node would want the same ports: write count: 1, or sourceAddresses: 2 or more, which are each client's own", c.Count)
	case sharing > ports:
		p.add(path, "%d connections from one address have %d ports: write a longer range, fewer connections or sourceAddresses: %d",
			sharing, ports, (c.Connections+ports-1)/ports)
	}
}

// joinWords lists words as a sentence does.
func joinWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
