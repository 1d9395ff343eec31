package scenarios

import "slices"

// Topic is a question that scenarios belong to.
type Topic struct {
	Name     string // as in metadata.topic
	Question string // one sentence
}

// Topics returns the questions of the library, in the order of lists.
func Topics() []Topic {
	return []Topic{
		{"connections", "Why do some pods get more than others, though all are ready?"},
		{"changes", "What becomes of the load when pods come, go or get slow?"},
		{"affinity", "Does session affinity hold, and what does it cost?"},
		{"policies", "Where may traffic go: policies, zones and nodes?"},
		{"addresses", "Which address does a pod see, and where is it lost?"},
		{"gateways", "What changes with a layer 7 proxy in front?"},
	}
}

func topics() choice {
	var names []string
	for _, t := range Topics() {
		names = append(names, t.Name)
	}
	return choice{built: names}
}

// TopicOf returns the name of the question a scenario belongs to: its own, or that of the most special thing it does.
func TopicOf(s *Scenario) string {
	spec := &s.Spec
	local := func(svc Service) bool {
		return svc.ExternalTrafficPolicy == "Local" || svc.InternalTrafficPolicy == "Local" || svc.TrafficDistribution != ""
	}
	switch {
	case s.Metadata.Topic != "":
		return s.Metadata.Topic
	case spec.Gateway != nil, spec.DestinationRule != nil:
		return "gateways"
	case len(spec.Events) > 0:
		return "changes"
	case spec.Service.SessionAffinity == "ClientIP":
		return "affinity"
	case local(spec.Service) || slices.ContainsFunc(spec.Services, local):
		return "policies"
	case slices.ContainsFunc(spec.Clients, func(c Client) bool { return c.Vantage != VantagePod || c.InEcho }):
		return "addresses"
	default:
		return "connections"
	}
}
