package e2e

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

const namespace = metav1.NamespaceDefault

// program is the binary's path in the test's pods.
const program = "/pod"

// testPod is a pod of the test's image that says its name and node.
func testPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       podSpec(),
	}
}

func podSpec() corev1.PodSpec {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	return corev1.PodSpec{
		// With a single user in the user namespace, an account's token cannot be given to another user.
		AutomountServiceAccountToken: new(false),
		Containers: []corev1.Container{{
			Name: "main", Image: imageName,
			Env: []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("NODE_NAME", "spec.nodeName")},
		}},
	}
}

// runPod runs a pod, changed by change unless that is nil, until it is ready.
func (l *lab) runPod(t *testing.T, name string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := testPod(name)
	if change != nil {
		change(pod)
	}
	if _, err := l.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return l.awaitPod(t, name, "ready", podReady)
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitPod waits until the pod is as wanted; nil stands for a pod that is gone.
func (l *lab) awaitPod(t *testing.T, name, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var last *corev1.Pod
	l.await(t, "pod "+name+" to be "+what, func(ctx context.Context) bool {
		var err error
		last, err = l.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = nil
		}
		return wanted(last)
	})
	return last
}

// await waits until the condition holds.
func (l *lab) await(t *testing.T, what string, holds func(context.Context) bool) {
	t.Helper()
	deadline := time.Now().Add(podTimeout)
	for !holds(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s\n%s", podTimeout, what, l.events(t))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// events are the cluster's, for the message of a test that has failed.
func (l *lab) events(t *testing.T) string {
	t.Helper()
	list, err := l.client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{
		FieldSelector: fields.OneTermNotEqualSelector("involvedObject.kind", "Node").String(),
	})
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, e := range list.Items {
		out.WriteString(e.InvolvedObject.Name + ": " + e.Reason + ": " + e.Message + "\n")
	}
	return out.String()
}

// execute runs the test's program in a pod and returns its output, as kubectl exec does.
func (l *lab) execute(t *testing.T, pod, stdin string, args ...string) (string, error) {
	t.Helper()
	options := &corev1.PodExecOptions{
		Command: append([]string{program}, args...), Stdout: true, Stderr: true, Stdin: stdin != "",
	}
	request := l.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(l.config, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	streams := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
	if stdin != "" {
		streams.Stdin = strings.NewReader(stdin)
	}
	ctx, cancel := context.WithTimeout(t.Context(), podTimeout)
	defer cancel()
	err = executor.StreamWithContext(ctx, streams)
	return stdout.String() + stderr.String(), err
}

// must is execute for a program that has to succeed.
func (l *lab) must(t *testing.T, pod string, args ...string) string {
	t.Helper()
	out, err := l.execute(t, pod, "", args...)
	if err != nil {
		t.Fatalf("in pod %s: %s: %v\n%s", pod, strings.Join(args, " "), err, out)
	}
	return out
}

// logs are those of the pod's container, or of its predecessor.
func (l *lab) logs(t *testing.T, pod string, previous bool) string {
	t.Helper()
	stream, err := l.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Previous: previous}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
