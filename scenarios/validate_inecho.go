package scenarios

import "fmt"

// defaultInEcho gives clients inside the echo pods their number: there is one in each.
func defaultInEcho(s *Scenario, absent func(string, ...any) bool) {
	for i := range s.Spec.Clients {
		if c := &s.Spec.Clients[i]; c.InEcho && absent("spec.clients[%d].count", i) {
			c.Count = servingPods(&s.Spec.Echo)
		}
	}
}

// servingPods is how many echo pods the Services select when the load begins, at least 1.
func servingPods(echo *Echo) int {
	pods := echo.Replicas
	for _, n := range echo.Placement {
		pods += n
	}
	return max(pods, 1)
}

// validateInEcho checks clients that send from inside the echo pods, and that nothing takes these pods away under them.
func validateInEcho(s *Scenario, p *problems) {
	first := ""
	for i := range s.Spec.Clients {
		c := &s.Spec.Clients[i]
		if !c.InEcho {
			continue
		}
		if first == "" {
			first = c.Name
		}
		inEchoStands(s, c, fmt.Sprintf("spec.clients[%d]", i), p)
	}
	if first == "" {
		return
	}
	for i := range s.Spec.Clients {
		if s.Spec.Clients[i].Target == TargetPodIP {
			p.add(fmt.Sprintf("spec.clients[%d].target", i),
				"client %s starts with the echo pods, before their addresses are known to anybody: write target: clusterIP, or remove inEcho", first)
		}
	}
	for i := range s.Spec.Events {
		if action := endsPods(&s.Spec.Events[i]); action != "" {
			p.add(fmt.Sprintf("spec.events[%d].%s", i, action),
				"client %s sends from inside the echo pods, and what it measured would end with them: remove inEcho, or the event", first)
		}
	}
}

func inEchoStands(s *Scenario, c *Client, path string, p *problems) {
	if c.Vantage != VantagePod {
		p.add(path+".inEcho", "the echo pods are pods: write vantage: pod, or remove inEcho")
	}
	if p.src.has(path + ".node") {
		p.add(path+".node", "the echo pods are where spec.echo says: remove it, or write spec.echo.placement")
	}
	if c.LocalPorts > 0 {
		p.add(path+".localPorts", "the echo pods answer from these ports, too: remove it, or inEcho")
	}
	if pods := servingPods(&s.Spec.Echo); c.Count != pods {
		p.add(path+".count", "%d clients in %d echo pods: there is one in each; remove it, or change the number of echo pods", c.Count, pods)
	}
	if g := s.Spec.Gateway; g != nil && g.Upstream == UpstreamPods {
		p.add(path+".inEcho", "the gateway's configuration names echo pods, which would wait for their clients, and these for the gateway: write upstream: service, or remove inEcho")
	}
}

// endsPods names the action of an event that ends echo pods or starts new ones; "": it does not.
func endsPods(e *Event) string {
	switch {
	case e.Scale != nil:
		return "scale"
	case e.Restart:
		return "restart"
	case e.DeletePod != nil:
		return "deletePod"
	case e.Drain != "":
		return "drain"
	case e.KillNode != "":
		return "killNode"
	}
	return ""
}
