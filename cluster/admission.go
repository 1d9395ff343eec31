package cluster

import "strings"

// admissionSentence says what a refusal by a quota, a limit range or Pod Security means for a run; "": it is none of
// these. Their messages are the API server's only way to tell them apart: all are Forbidden.
func admissionSentence(message string) string {
	switch {
	case strings.Contains(message, "exceeded quota:"):
		return "a ResourceQuota that is put into new namespaces leaves too little room: run with fewer replicas and clients, or have it raised for podskew's namespaces"
	case strings.Contains(message, "failed quota:"):
		return "a ResourceQuota that is put into new namespaces demands limits that podskew's pods do not have " +
			"(a CPU limit would show as skew): have a LimitRange set defaults, or podskew's namespaces exempted"
	case strings.Contains(message, " usage per Container is "), strings.Contains(message, " usage per Pod is "), strings.Contains(message, " limit to request ratio per "):
		return "a LimitRange that is put into new namespaces does not admit podskew's requests (10m CPU, 24Mi) and limits (128Mi; agents 512Mi): have podskew's namespaces exempted"
	case strings.Contains(message, "violates PodSecurity"):
		return "the cluster's Pod Security does not let podskew's namespace have the level it asks for"
	}
	return ""
}
