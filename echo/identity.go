package echo

import (
	"net/netip"
	"slices"
	"strings"
)

// Identity is what a pod was told about itself. Fields hold [Unknown] where it was told nothing or nonsense, except Zone,
// which is "" then.
type Identity struct {
	// Pod, Namespace, PodIP and PodUID are the pod's own name, namespace, address and UID.
	Pod, Namespace, PodIP, PodUID string
	// Node and HostIP are the name and address of the node it runs on, and Zone is that node's zone.
	Node, HostIP, Zone string
	// ServiceAccount is what the pod runs as.
	ServiceAccount string
	// Resources are the container's limits and requests.
	Resources Resources
	// Unknown lists the fields that were missing or malformed by their JSON names in [Reply], sorted. A missing zone is
	// not listed: most clusters have none.
	Unknown []string
}

// ReadIdentity reads the environment that the pod's manifest fills from the Downward API. The lookup function is
// os.LookupEnv in a real pod.
//
// Each field has a list of variables, of which the first that is set and not empty decides; if its value is malformed the
// field is unknown, whatever the others say, for a wrong manifest should show. The list is the plain name and its synonyms,
// then the same with the prefix K8S_, and for limits and requests then the same with RESOURCE_:
//
//	pod                        POD_NAME
//	namespace                  POD_NAMESPACE
//	podIP                      POD_IP
//	podUID                     POD_UID
//	node                       NODE_NAME
//	hostIP                     HOST_IP, NODE_IP
//	serviceAccount             SERVICE_ACCOUNT, SERVICE_ACCOUNT_NAME, POD_SERVICE_ACCOUNT
//	zone                       NODE_ZONE, ZONE
//	resources.limits.cpu       LIMITS_CPU, CPU_LIMIT
//	resources.limits.memory    LIMITS_MEMORY, MEMORY_LIMIT
//	resources.requests.cpu     REQUESTS_CPU, CPU_REQUEST
//	resources.requests.memory  REQUESTS_MEMORY, MEMORY_REQUEST
//
// A zone in the pod's labels volume goes before the one here (see [Options.PodInfo]).
func ReadIdentity(lookup func(string) (string, bool)) Identity {
	var id Identity
	for _, f := range identityFields(&id) {
		value := firstSet(lookup, f.variables())
		switch {
		case value == "" && f.optional:
		case value == "" || !f.valid(value):
			id.Unknown = append(id.Unknown, f.name)
			if !f.optional {
				*f.to = Unknown
			}
		default:
			*f.to = value
		}
	}
	slices.Sort(id.Unknown)
	return id
}

// identityField is one field of an Identity and where it comes from.
type identityField struct {
	name     string   // in JSON
	names    []string // variables without prefix
	valid    func(string) bool
	to       *string
	optional bool // "" when unknown, and not reported when missing
	resource bool // the prefix RESOURCE_ is accepted
}

// identityFields lists the fields of id.
func identityFields(id *Identity) []identityField {
	amount := func(name string, to *string, names ...string) identityField {
		return identityField{name: "resources." + name, names: names, valid: validQuantity, to: to, resource: true}
	}
	return []identityField{
		{name: "pod", names: []string{"POD_NAME"}, valid: validName, to: &id.Pod},
		{name: "namespace", names: []string{"POD_NAMESPACE"}, valid: validName, to: &id.Namespace},
		{name: "podIP", names: []string{"POD_IP"}, valid: validIP, to: &id.PodIP},
		{name: "podUID", names: []string{"POD_UID"}, valid: validUID, to: &id.PodUID},
		{name: "node", names: []string{"NODE_NAME"}, valid: validName, to: &id.Node},
		{name: "hostIP", names: []string{"HOST_IP", "NODE_IP"}, valid: validIP, to: &id.HostIP},
		{name: "serviceAccount", names: []string{"SERVICE_ACCOUNT", "SERVICE_ACCOUNT_NAME", "POD_SERVICE_ACCOUNT"}, valid: validName, to: &id.ServiceAccount},
		{name: "zone", names: []string{"NODE_ZONE", "ZONE"}, valid: validZone, to: &id.Zone, optional: true},
		amount("limits.cpu", &id.Resources.Limits.CPU, "LIMITS_CPU", "CPU_LIMIT"),
		amount("limits.memory", &id.Resources.Limits.Memory, "LIMITS_MEMORY", "MEMORY_LIMIT"),
		amount("requests.cpu", &id.Resources.Requests.CPU, "REQUESTS_CPU", "CPU_REQUEST"),
		amount("requests.memory", &id.Resources.Requests.Memory, "REQUESTS_MEMORY", "MEMORY_REQUEST"),
	}
}

// variables returns the variables that may hold the field, in order of precedence.
func (f identityField) variables() []string {
	prefixes := []string{"", "K8S_"}
	if f.resource {
		prefixes = append(prefixes, "RESOURCE_")
	}
	var all []string
	for _, prefix := range prefixes {
		for _, name := range f.names {
			all = append(all, prefix+name)
		}
	}
	return all
}

// firstSet returns the first value that is set and not empty.
func firstSet(lookup func(string) (string, bool), names []string) string {
	for _, name := range names {
		if value, ok := lookup(name); ok && value != "" {
			return value
		}
	}
	return ""
}

// withZone returns id with the zone that the pod's labels name, if they do.
func (id Identity) withZone(zone string) Identity {
	if zone == "" {
		return id
	}
	unknown := slices.DeleteFunc(slices.Clone(id.Unknown), func(name string) bool { return name == "zone" })
	if !validZone(zone) {
		id.Zone, id.Unknown = "", append(unknown, "zone")
		slices.Sort(id.Unknown)
		return id
	}
	id.Zone, id.Unknown = zone, unknown
	return id
}

// The checks below are those of the API server, or wider. They also keep control characters out of reply headers.

// validName accepts names of pods, nodes, namespaces and service accounts (RFC 1123 subdomains).
func validName(s string) bool {
	return len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool { return !lowerAlnum(r) && r != '-' && r != '.' }) && alnumEnds(s)
}

// validUID accepts UUIDs, and the hashes that the kubelet gives to static pods.
func validUID(s string) bool {
	return len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool { return !alnum(r) && r != '-' }) && alnumEnds(s)
}

// validZone accepts values of labels.
func validZone(s string) bool {
	return len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool { return !alnum(r) && !strings.ContainsRune("-_.", r) }) && alnumEnds(s)
}

// validIP accepts IP addresses without a zone.
func validIP(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == ""
}

// validQuantity accepts what a resourceFieldRef renders, which is a whole number, and quantities with a unit.
func validQuantity(s string) bool {
	number := strings.TrimRight(s, "munkMGTPEi")
	if len(s)-len(number) > 2 || len(s) > 32 {
		return false
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	return digits(whole) && (!dotted || digits(fraction))
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func lowerAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
}

func alnum(r rune) bool {
	return lowerAlnum(r) || 'A' <= r && r <= 'Z'
}

// alnumEnds reports whether s begins and ends with a letter or digit.
func alnumEnds(s string) bool {
	return s != "" && alnum(rune(s[0])) && alnum(rune(s[len(s)-1]))
}
