package scenarios

import "fmt"

// validateDialled checks which Service a client dials, and what of it.
func validateDialled(s *Scenario, c *Client, path string, p *problems) {
	svc, base := serviceOf(s, c)
	if svc == nil {
		p.add(path+".service", "there is no Service %q: %s", c.Service, instead(c.Service, ServiceNames(s)))
		svc, base = &s.Spec.Service, "spec.service"
	}
	validateTarget(svc, base, c, path, p)
	if svc.Endpoints == EndpointsNone && c.Target == TargetPodIP {
		p.add(path+".target", "the Service selects no pods to dial: remove %s.endpoints: none, or write another target", base)
	}
}

// validateTarget checks that what a client dials exists with this Service and can be reached from where the client stands.
// base is the Service's path.
func validateTarget(svc *Service, base string, c *Client, path string, p *problems) {
	targets().check(p, path+".target", string(c.Target))
	headless := svc.ClusterIP == "None"
	switch c.Target {
	case TargetClusterIP:
		if headless {
			p.add(path+".target", "a headless Service has no cluster IP: write target: headless, or remove %s.clusterIP: None", base)
		}
		if c.Vantage == VantageExternal {
			p.add(path+".target", "a cluster IP cannot be reached from outside the cluster: write target: nodePort and %s.type: NodePort", base)
		}
	case TargetNodePort:
		if svc.Type == "ClusterIP" {
			p.add(path+".target", "a Service of type ClusterIP has no node port: write %s.type: NodePort", base)
		}
	case TargetLoadBalancer:
		if svc.Type == "ClusterIP" || svc.Type == "NodePort" {
			p.add(path+".target", "a Service of type %s has no load balancer: write %s.type: LoadBalancer", svc.Type, base)
		}
	case TargetHeadless:
		if !headless {
			p.add(path+".target", "the name of this Service stands for its cluster IP, not for its pods: write %s.clusterIP: None", base)
		}
		refuseOutside(c, "names of the cluster are not known", path, p)
	case TargetPodIP:
		refuseOutside(c, "pods cannot be reached by their own addresses", path, p)
	default:
	}
	validateTargetNodes(c, path, p)
	validateResolving(c, path, p)
}

func refuseOutside(c *Client, why, path string, p *problems) {
	if c.Vantage == VantageExternal {
		p.add(path+".target", "%s outside the cluster: write vantage: pod, or target: nodePort", why)
	}
}

func validateTargetNodes(c *Client, path string, p *problems) {
	if len(c.TargetNodes) > 0 && c.Target != TargetNodePort {
		p.add(path+".targetNodes", "only node ports are dialled node by node: write target: nodePort, or remove it")
	}
	seen := map[string]bool{}
	for i, node := range c.TargetNodes {
		at := fmt.Sprintf("%s.targetNodes[%d]", path, i)
		switch {
		case node != Localhost:
			checkNodeName(p, at, node)
		case c.Vantage != VantageNode:
			p.add(at, "127.0.0.1 is a node's own address only for clients on its network: write vantage: node, or the name of a node")
		}
		if seen[node] {
			p.add(at, "%s is named twice: each node is dialled in turn once", node)
		}
		seen[node] = true
	}
}

// validateResolving checks how names become addresses, which only the target that is a name asks for.
func validateResolving(c *Client, path string, p *problems) {
	resolves().check(p, path+".resolve", c.Resolve)
	resolveOrders().check(p, path+".resolveOrder", c.ResolveOrder)
	for _, field := range []string{"resolve", "resolveOrder"} {
		at := path + "." + field
		switch {
		case !p.src.has(at):
		case c.Target != TargetHeadless:
			p.add(at, "only names are resolved, and target %s is none: write target: headless, or remove it", c.Target)
		case c.Protocol == ProtocolGRPC && c.GRPCPolicy == "round_robin":
			p.add(at, "gRPC's round_robin resolves by itself and uses all addresses: remove it, or write grpcPolicy: pick_first")
		}
	}
}
