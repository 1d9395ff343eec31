package scenarios

import "fmt"

// validateTarget checks that what a client dials exists with this Service and can be reached from where the client stands.
func validateTarget(svc *Service, c *Client, path string, p *problems) {
	targets().check(p, path+".target", string(c.Target))
	headless := svc.ClusterIP == "None"
	switch c.Target {
	case TargetClusterIP:
		if headless {
			p.add(path+".target", "a headless Service has no cluster IP: write target: headless, or remove spec.service.clusterIP: None")
		}
		if c.Vantage == VantageExternal {
			p.add(path+".target", "a cluster IP cannot be reached from outside the cluster: write target: nodePort and spec.service.type: NodePort")
		}
	case TargetNodePort:
		if svc.Type == "ClusterIP" {
			p.add(path+".target", "a Service of type ClusterIP has no node port: write spec.service.type: NodePort")
		}
	case TargetLoadBalancer:
		if svc.Type == "ClusterIP" || svc.Type == "NodePort" {
			p.add(path+".target", "a Service of type %s has no load balancer: write spec.service.type: LoadBalancer", svc.Type)
		}
	case TargetHeadless:
		if !headless {
			p.add(path+".target", "the name of this Service stands for its cluster IP, not for its pods: write spec.service.clusterIP: None")
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
		checkNodeName(p, at, node)
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
