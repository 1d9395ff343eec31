package scenarios

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Environment is what is known of a cluster before a scenario runs on it.
type Environment struct {
	Provider  string // lab, kind or current
	ProxyMode string // nftables, iptables or ipvs; anything else: it is not one of them, or not known
}

// APIIstio is what a scenario with a destinationRule needs of the API server.
const APIIstio = "networking.istio.io/v1"

// APIs are the API versions that the API server must have for a scenario: those of Requires.APIs, and what follows from the
// scenario itself.
func APIs(s *Scenario) []string {
	var out []string
	if r := s.Spec.Requires; r != nil {
		out = slices.Clone(r.APIs)
	}
	if s.Spec.DestinationRule != nil && !slices.Contains(out, APIIstio) {
		out = append(out, APIIstio)
	}
	return out
}

// Unmet says why a scenario cannot run in an environment, in a few words that follow "skipped: ". "" means that nothing
// that is known stands in the way: whether the API server has what APIs names is asked of it, not here.
func Unmet(s *Scenario, in Environment) string {
	requires := s.Spec.Requires
	if requires == nil {
		requires = &Requires{}
	}
	if p := requires.Providers; len(p) > 0 && !slices.Contains(p, in.Provider) {
		return fmt.Sprintf("it needs cluster %s, this is %s", orWords(p), in.Provider)
	}
	if in.Provider != "lab" {
		for i := range s.Spec.Events {
			if s.Spec.Events[i].KillNode != "" {
				return "it takes the power from a node, which only the lab can do"
			}
		}
	}
	switch m := requires.ProxyModes; {
	case len(m) == 0 || slices.Contains(m, in.ProxyMode):
		return ""
	case slices.Contains(proxyModes().built, in.ProxyMode):
		return fmt.Sprintf("it needs kube-proxy in %s mode, here it is in %s mode", orWords(m), in.ProxyMode)
	default:
		return fmt.Sprintf("it needs kube-proxy in %s mode, and here its mode is not known", orWords(m))
	}
}

// orWords joins words for "one of them will do".
func orWords(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func proxyModes() choice { return choice{built: []string{"nftables", "iptables", "ipvs"}} }

func providers() choice { return choice{built: []string{"lab", "kind", "current"}} }

var apiVersionForm = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9]+((alpha|beta)[0-9]+)?$`)

func validateRequires(r *Requires, p *problems) {
	const path = "spec.requires"
	if r == nil {
		return
	}
	checkSet(p, path+".proxyModes", r.ProxyModes, proxyModes())
	checkSet(p, path+".providers", r.Providers, providers())
	for i, api := range r.APIs {
		if !apiVersionForm.MatchString(api) {
			p.add(fmt.Sprintf("%s.apis[%d]", path, i), "%q is not an API version: write group/version, such as networking.istio.io/v1", api)
		}
	}
}

// checkSet notes what is not known or named twice in a list.
func checkSet(p *problems, path string, values []string, known choice) {
	seen := map[string]bool{}
	for i, v := range values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if known.check(p, at, v); seen[v] {
			p.add(at, "%s is named twice: remove one", v)
		}
		seen[v] = true
	}
}
