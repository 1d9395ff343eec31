package cluster

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// trouble is why a pod does not get ready.
type trouble struct {
	sentence string // "cannot be scheduled: 0/4 nodes are available: …"
	final    bool   // waiting longer will not help; otherwise it may still pass
	logs     bool   // its log says more
	of       string // the container
	previous bool   // the log of the container's last life
}

// podTrouble judges a pod by its status alone; nil: nothing speaks against it getting ready.
func podTrouble(p *corev1.Pod) *trouble {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return &trouble{sentence: endedSentence(p), final: p.Spec.RestartPolicy == corev1.RestartPolicyNever, logs: len(p.Status.ContainerStatuses) > 0, of: p.Labels[labelRole]}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return &trouble{sentence: "cannot be scheduled: " + c.Message}
		}
	}
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		if t := c.State.Terminated; t != nil && t.ExitCode == 0 {
			continue // it has done its part
		}
		if t := containerTrouble(c); t != nil {
			return t
		}
	}
	for i := range p.Status.ContainerStatuses {
		if t := containerTrouble(&p.Status.ContainerStatuses[i]); t != nil {
			return t
		}
	}
	return nil
}

// whose names a container in a sentence about its pod; "" if it is one of podskew's own. Others are put into its pods by
// whoever admits them, as Istio's sidecars are.
func whose(container string) string {
	if slices.Contains([]string{"", roleEcho, roleAgent, roleGateway}, container) {
		return ""
	}
	return "container " + container + " "
}

// containerTrouble is why a container keeps its pod from getting ready.
func containerTrouble(c *corev1.ContainerStatus) *trouble {
	t := statusTrouble(c)
	if t != nil {
		t.sentence, t.of = whose(c.Name)+t.sentence, c.Name
	}
	return t
}

func statusTrouble(c *corev1.ContainerStatus) *trouble {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return &trouble{sentence: fmt.Sprintf("cannot get image %q: %s", c.Image, explained(w.Reason, w.Message)), final: true}
		case "ErrImagePull":
			return &trouble{sentence: fmt.Sprintf("cannot get image %q: %s", c.Image, explained(w.Reason, w.Message))}
		case "CrashLoopBackOff":
			return &trouble{sentence: crashSentence(c), final: true, logs: true, previous: true}
		case "RunContainerError", "CreateContainerError", "CreateContainerConfigError":
			return &trouble{sentence: "cannot start its container: " + explained(w.Reason, w.Message)}
		}
	}
	if c.State.Terminated != nil || c.RestartCount > 0 {
		return &trouble{sentence: crashSentence(c), logs: true, previous: c.State.Terminated == nil}
	}
	return nil
}

func explained(reason, message string) string {
	if message == "" {
		return reason
	}
	return message + " (" + reason + ")"
}

func crashSentence(c *corev1.ContainerStatus) string {
	t := c.State.Terminated
	if t == nil {
		t = c.LastTerminationState.Terminated
	}
	if t == nil {
		return fmt.Sprintf("crashed (%d restarts)", c.RestartCount)
	}
	return fmt.Sprintf("crashed with %s (%d restarts)", exitWords(t), c.RestartCount)
}

func exitWords(t *corev1.ContainerStateTerminated) string {
	out := fmt.Sprintf("exit code %d", t.ExitCode)
	switch {
	case t.Reason == "OOMKilled":
		out += ", killed for want of memory"
	case t.ExitCode == 137 || t.Signal == 9:
		out += ", killed (SIGKILL)"
	case t.ExitCode == 143 || t.Signal == 15:
		out += ", asked to stop (SIGTERM)"
	case t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed":
		out += ", " + t.Reason
	}
	if t.Message != "" {
		out += ": " + oneLine(t.Message)
	}
	return out
}

// endedSentence says how a pod that will not run again came to its end.
func endedSentence(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && p.Status.Reason == "" {
			return whose(c.Name) + "ended with " + exitWords(t)
		}
	}
	switch p.Status.Reason {
	case "":
		return "ended (" + string(p.Status.Phase) + "), nobody said why"
	case "DeadlineExceeded":
		return "was ended by its activeDeadlineSeconds: the run took longer than its expiry"
	}
	return "ended: " + explained(p.Status.Reason, oneLine(p.Status.Message))
}

// podProgress says how far a pod without trouble got.
func podProgress(p *corev1.Pod) string {
	switch {
	case p.DeletionTimestamp != nil:
		return "is being deleted"
	case p.Spec.NodeName == "":
		return "waits for the scheduler"
	}
	for _, c := range p.Status.InitContainerStatuses {
		if c.State.Terminated == nil && !c.Ready {
			return fmt.Sprintf("waits on %s until container %s has done its part", p.Spec.NodeName, c.Name)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return fmt.Sprintf("waits on %s: %s", p.Spec.NodeName, whose(c.Name)+explained(w.Reason, oneLine(w.Message)))
		}
		if c.State.Running != nil && !c.Ready {
			return fmt.Sprintf("runs on %s, but %s does not succeed", p.Spec.NodeName, probeOf(c.Name))
		}
	}
	return fmt.Sprintf("is on %s, whose kubelet has not reported about it yet", p.Spec.NodeName)
}

func probeOf(container string) string {
	if other := whose(container); other != "" {
		return "the readiness probe of " + strings.TrimSpace(other)
	}
	return "its readiness probe"
}

func podReady(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sentences groups equal sentences about several pods, so that one cause reads as one line.
// A pod without a name stands for something else, and its sentence is whole.
type sentences struct {
	order []string
	pods  map[string][]string
}

func (s *sentences) add(pod, sentence string) {
	if s.pods == nil {
		s.pods = map[string][]string{}
	}
	if s.pods[sentence] == nil {
		s.order = append(s.order, sentence)
	}
	s.pods[sentence] = append(s.pods[sentence], pod)
}

func (s *sentences) String() string {
	const most = 6
	var lines []string
	for i, sentence := range s.order {
		if i == most {
			lines = append(lines, fmt.Sprintf("… and %d more", len(s.order)-most))
			break
		}
		pods := s.pods[sentence]
		who := "pod " + pods[0]
		if n := len(pods) - 1; n == 1 {
			who += " and 1 other"
		} else if n > 1 {
			who += fmt.Sprintf(" and %d others", n)
		}
		if pods[0] == "" {
			lines = append(lines, sentence)
			continue
		}
		lines = append(lines, who+" "+sentence)
	}
	return strings.Join(lines, "\n  ")
}
