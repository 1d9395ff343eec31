package scenarios

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// annotationKey is the form of a name with an optional prefix, as Kubernetes has it.
var annotationKey = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)

// maxAnnotations bounds names and values of all annotations together, in bytes: Kubernetes' own.
const maxAnnotations = 256 << 10

// validateAnnotations checks a Service's annotations: their form, and of those that change where traffic goes the value,
// since a value that nobody knows does nothing, without a word.
func validateAnnotations(annotations map[string]string, path string, p *problems) {
	size := 0
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		at, value := fieldPath(path, key), annotations[key]
		size += len(key) + len(value)
		switch {
		case len(key) > 317 || !annotationKey.MatchString(key):
			p.add(at, "%q is no name of an annotation: write prefix/name, such as service.kubernetes.io/topology-mode", key)
		case key == AnnotationTopologyMode && !strings.EqualFold(value, "auto") && !strings.EqualFold(value, "disabled"):
			p.add(at, "%q is not known: write Auto or Disabled", value)
		case key == AnnotationBalancerWeights && value != BalancerWeightsEndpoints:
			p.add(at, "%q is not known: write %s", value, BalancerWeightsEndpoints)
		}
	}
	if size > maxAnnotations {
		p.add(path, "%d bytes in all: at most %d", size, maxAnnotations)
	}
}

// Annotations of a Service that podskew knows.
const (
	// AnnotationTopologyMode asks the EndpointSlice controller for hints by zone.
	AnnotationTopologyMode = "service.kubernetes.io/topology-mode"
	// AnnotationBalancerWeights tells the lab's load balancer how to weigh nodes. Without it all that pass get the same.
	AnnotationBalancerWeights = "podskew.dev/load-balancer-weights"
	// BalancerWeightsEndpoints, as its value: by the number of endpoints a node says it has of its own.
	BalancerWeightsEndpoints = "endpoints"
)
