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
		validateTarget(&s.Spec.Service, c, path, p)
		validatePlan(c, path, p)
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
	checkRange(p, path+".count", c.Count, 1, maxClients)
	if c.Node != "" {
		checkNodeName(p, path+".node", c.Node)
	}
	if c.Count > 1 && c.Node != "" && (c.Vantage == VantageNode || c.Vantage == VantageExternal) {
		p.add(path+".count", "%d clients on one node's network would share its address: write count: 1 and more connections, or remove node",
			c.Count)
	}
}

// validateTarget checks that what a client dials exists with this Service and can be reached from where the client stands.
func validateTarget(svc *Service, c *Client, path string, p *problems) {
	targets().check(p, path+".target", string(c.Target))
	switch c.Target {
	case TargetClusterIP:
		if svc.ClusterIP == "None" {
			p.add(path+".target", "a headless Service has no cluster IP: remove spec.service.clusterIP: None")
		}
		if c.Vantage == VantageExternal {
			p.add(path+".target", "a cluster IP cannot be reached from outside the cluster: write target: nodePort and spec.service.type: NodePort")
		}
	case TargetNodePort:
		if svc.Type == "ClusterIP" {
			p.add(path+".target", "a Service of type ClusterIP has no node port: write spec.service.type: NodePort")
		}
	default:
	}
	if len(c.TargetNodes) > 0 && c.Target != TargetNodePort {
		p.add(path+".targetNodes", "only node ports are dialled node by node: write target: nodePort, or remove it")
	}
	seen := map[string]bool{}
	for i, node := range c.TargetNodes {
		at := fmt.Sprintf("%s.targetNodes[%d]", path, i)
		checkNodeName(p, at, node)
		if seen[node] {
			p.add(at, "%s is named twice: each node is dialled in turn once", node)
		}
		seen[node] = true
	}
}

// validatePlan checks connections and requests.
func validatePlan(c *Client, path string, p *problems) {
	if !p.src.has(path + ".connections") {
		p.add(path+".connections", "missing: write how many connections each client keeps open, such as connections: 4")
	} else {
		checkRange(p, path+".connections", c.Connections, 1, maxConnections)
	}
	checkRange(p, path+".requestsPerConnection", c.RequestsPerConnection, 0, maxRequests)
	checkDuration(p, path+".connectTimeout", c.ConnectTimeout, minRequestTimeout, maxRequestTimeout)
	checkDuration(p, path+".timeout", c.Timeout, minRequestTimeout, maxRequestTimeout)
	protocols().check(p, path+".protocol", c.Protocol)
	switch {
	case c.Rate < 0:
		p.add(path+".rate", "%g is negative: write 0, or leave it out, to send as fast as answers come", c.Rate)
	case c.Rate > 0:
		p.add(path+".rate", "sending at a rate is not built yet: leave it out to send as fast as answers come")
	}
	validateEnd(c, path, p)
}

// validateEnd checks when a client is done.
func validateEnd(c *Client, path string, p *problems) {
	requests, duration := p.src.has(path+".requests"), p.src.has(path+".duration")
	switch {
	case requests && duration:
		p.add(path+".duration", "requests and duration exclude each other: keep the one that ends the run")
	case duration:
		checkDuration(p, path+".duration", c.Duration, minDuration, maxDuration)
	case requests:
		validateRequests(c, path, p)
	default:
		p.add(path, "no end: write duration, such as duration: 5s, or requests, such as requests: 3000")
	}
}

func validateRequests(c *Client, path string, p *problems) {
	checkRange(p, path+".requests", c.Requests, 1, maxRequests)
	if c.Requests < 1 || c.Connections < 1 {
		return
	}
	if c.Requests < c.Connections {
		p.add(path+".requests", "%d requests leave some of %d connections without any: write at least %d, or fewer connections",
			c.Requests, c.Connections, c.Connections)
		return
	}
	most := (c.Requests + c.Connections - 1) / c.Connections
	if c.RequestsPerConnection > most {
		p.add(path+".requestsPerConnection",
			"%d is never reached: each of %d connections sends at most %d of %d requests; write 0 to keep it open, or at most %d",
			c.RequestsPerConnection, c.Connections, most, c.Requests, most)
	}
}

// joinWords lists words as a sentence does.
func joinWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
