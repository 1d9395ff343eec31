package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// tokenHeader is what agents look for the run's token in.
	tokenHeader = "X-Podskew-Token" //nolint:gosec // the header's name, not a token
	// settle is how long a kubelet may take to report that a container ended.
	settle = 3 * time.Second
)

// Post sends body to a path of an agent, with the run's token, through the API server, and returns the answer as it
// comes: nothing but ctx ends a stream that the agent keeps open. The caller closes it. Statuses of 400 and more are
// errors with the agent's own sentence (AnswerError) or the API server's.
func (r *Run) Post(ctx context.Context, agent, path string, body io.Reader) (io.ReadCloser, error) {
	a, err := r.agent(agent)
	if err != nil {
		return nil, err
	}
	to := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%d/proxy/%s", r.Namespace(), url.PathEscape(a.name), a.port, strings.TrimPrefix(path, "/"))
	header := http.Header{"Content-Type": {"application/json"}, tokenHeader: {r.token}}
	resp, err := r.c.do(ctx, http.MethodPost, to, header, body)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", agent, r.explained(ctx, err))
	}
	return resp.Body, nil
}

func (r *Run) agent(name string) (agent, error) {
	for _, a := range slices.Concat(r.layout.agents, r.layout.inEcho) {
		if a.name == name {
			return a, nil
		}
	}
	return agent{}, fmt.Errorf("the run has no agent %q", name)
}

// AgentState says how an agent is, for errors about streams that ended early. While the API server still has the agent
// as running, it waits up to three seconds for the kubelet to report otherwise.
func (r *Run) AgentState(ctx context.Context, agent string) (AgentState, error) {
	a, err := r.agent(agent)
	if err != nil {
		return AgentState{}, err
	}
	wait, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	var pod *corev1.Pod
	err = follow(wait, podFeed(r.c.client, r.Namespace()), metav1.ListOptions{FieldSelector: "metadata.name=" + a.name},
		func(pods map[string]*corev1.Pod) (bool, error) {
			pod = pods[a.name]
			return pod == nil || pod.DeletionTimestamp != nil || endOf(pod) != "", nil
		})
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return AgentState{}, fmt.Errorf("asking for agent %s: %w", agent, r.explained(ctx, err))
	}
	switch {
	case pod == nil:
		return AgentState{Detail: "its pod is gone: somebody deleted it, or its node was removed"}, nil
	case pod.DeletionTimestamp != nil:
		return AgentState{Detail: "its pod is being deleted"}, nil
	case endOf(pod) != "":
		return AgentState{Detail: endOf(pod)}, nil
	}
	if why := r.nodeTrouble(ctx, a.node); why != "" {
		return AgentState{Detail: why}, nil
	}
	return AgentState{Running: true, Detail: "its pod runs on " + a.node}, nil
}

// endOf says how the agent's container ended; "": it has not.
func endOf(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return endedSentence(p)
	}
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			return whose(c.Name) + "ended with " + exitWords(t)
		}
	}
	return ""
}

// nodeTrouble says what is wrong with a node; "": nothing that is known.
func (r *Run) nodeTrouble(ctx context.Context, name string) string {
	n, err := r.c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil || nodeReady(n) {
		return ""
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return fmt.Sprintf("its node %s is not ready since %s: %s", name, c.LastTransitionTime.UTC().Format(time.TimeOnly), explained(c.Reason, oneLine(c.Message)))
		}
	}
	return fmt.Sprintf("its node %s is not ready", name)
}
