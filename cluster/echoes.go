package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EchoPods lists the run's echo pods that are running now, by name.
func (r *Run) EchoPods(ctx context.Context) ([]string, error) {
	list, err := r.c.client.CoreV1().Pods(r.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: labelRole + "=" + roleEcho})
	if err != nil {
		return nil, fmt.Errorf("listing echo pods: %w", r.explained(ctx, err))
	}
	var out []string
	r.mu.Lock()
	defer r.mu.Unlock()
	r.echoNodes = map[string]string{}
	for i := range list.Items {
		if p := &list.Items[i]; p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			out = append(out, p.Name)
			r.echoNodes[p.Name] = p.Spec.NodeName
		}
	}
	slices.Sort(out)
	return out, nil
}

// AskEcho returns the answer of an echo pod to a path, at most 8 MB of it, through the API server. It posts: a run may
// do that to its agents anyway, and to the server all methods are the same.
//
// A pod that EchoPods has found on a node without power is not asked: the API server would try for half a minute.
func (r *Run) AskEcho(ctx context.Context, pod, path string) ([]byte, error) {
	r.mu.Lock()
	node := r.echoNodes[pod]
	dead := r.killed[node]
	r.mu.Unlock()
	if dead {
		return nil, fmt.Errorf("asking pod %s: node %s has no power", pod, node)
	}
	to := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/%s", r.Namespace(), url.PathEscape(pod), httpPort().pod, strings.TrimPrefix(path, "/"))
	resp, err := r.c.do(ctx, http.MethodPost, to, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("asking pod %s: %w", pod, r.explained(ctx, err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRaw))
	if err != nil {
		return nil, fmt.Errorf("asking pod %s: %w", pod, err)
	}
	return body, nil
}
