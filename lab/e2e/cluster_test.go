package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/utils/exec"
)

// TestCluster does with one lab what users do with kubectl.
func TestCluster(t *testing.T) {
	t.Parallel()
	l := startLab(t, options{})
	t.Run("the nodes are as documented", l.testNodes)
	t.Run("nobody asked before it had the right to", l.testNobodyRefused)
	t.Run("kube-proxy in nftables mode finds nft and no iptables", l.testProxyPath)
	t.Run("the API server reaches kube-proxy's mode and metrics", l.testNodeProxy)
	t.Run("configuration reaches a pod", l.testConfiguration)
	t.Run("logs, exec and port-forward work", l.testStreams)
	t.Run("a readiness probe is heeded", l.testProbe)
	t.Run("a container that ends is started again", l.testRestart)
	t.Run("a deleted pod ends gracefully", l.testTermination)
	t.Run("a deployment can be applied, scaled and reached", l.testDeployment)
	t.Run("commands run in a node's namespaces", l.testExec)
}

func (l *lab) testNodes(t *testing.T) {
	list, err := l.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list.Items {
		got = append(got, strings.TrimSpace(fmt.Sprintln(n.Name, n.Status.Addresses[0].Address, n.Spec.PodCIDR,
			n.Labels[corev1.LabelTopologyZone], n.Labels["podskew.dev/external"], len(n.Spec.Taints), n.Status.NodeInfo.KubeletVersion)))
	}
	want := strings.Join([]string{
		"external 10.77.0.200   true 1 v1.36.3",
		"worker 10.77.0.11 10.78.1.0/24 a  0 v1.36.3",
		"worker2 10.77.0.12 10.78.2.0/24 b  0 v1.36.3",
		"worker3 10.77.0.13 10.78.3.0/24 c  0 v1.36.3",
	}, "\n")
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// testNobodyRefused looks for requests that came too early: whoever is refused tries again a second or two later, and that is how much
// longer the start takes.
func (l *lab) testNobodyRefused(t *testing.T) {
	for _, name := range []string{"worker-kubelet", "worker-kube-proxy", "worker3-kube-proxy", "kube-scheduler", "dns"} {
		data, err := os.ReadFile(filepath.Join(l.runDir, "logs", name+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, " is forbidden: ") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func (l *lab) testProxyPath(t *testing.T) {
	proxies := 0
	for _, pid := range tracesOf(t, l).pids {
		command, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if !bytes.Contains(command, []byte("__kube-proxy")) {
			continue
		}
		proxies++
		env, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if err != nil {
			t.Fatal(err)
		}
		var paths []string // Go takes the first of several
		for variable := range strings.SplitSeq(string(env), "\x00") {
			if path, ok := strings.CutPrefix(variable, "PATH="); ok {
				paths = append(paths, path)
			}
		}
		if len(paths) != 1 {
			t.Fatalf("PATH is %q", paths)
		}
		programs, err := filepath.Glob(filepath.Join("/proc", pid, "root", paths[0], "*"))
		if err != nil || len(programs) != 1 || filepath.Base(programs[0]) != "nft" {
			t.Errorf("in %s it finds %q, %v", paths[0], programs, err)
		}
	}
	if proxies != 3 {
		t.Errorf("%d kube-proxies", proxies)
	}
}

func (l *lab) testNodeProxy(t *testing.T) {
	rest := l.client.CoreV1().RESTClient()
	mode, err := rest.Get().AbsPath("/api/v1/nodes/worker2:10249/proxy/proxyMode").DoRaw(t.Context())
	if err != nil || string(mode) != "nftables" {
		t.Errorf("mode %q, %v", mode, err)
	}
	metrics, err := rest.Get().AbsPath("/api/v1/nodes/worker2:10249/proxy/metrics").DoRaw(t.Context())
	if err != nil || !bytes.Contains(metrics, []byte("kubeproxy_sync_proxy_rules_last_timestamp_seconds")) {
		t.Errorf("%d bytes of metrics, %v", len(metrics), err)
	}
}

func (l *lab) testConfiguration(t *testing.T) {
	ctx := t.Context()
	core := l.client.CoreV1()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "colours"}, Data: map[string]string{"sky": "blue"}}
	if _, err := core.ConfigMaps(namespace).Create(ctx, configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "secret"}, StringData: map[string]string{"word": "xyzzy"}}
	if _, err := core.Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.runPod(t, "configured", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true)}
		c := &p.Spec.Containers[0]
		c.SecurityContext = &corev1.SecurityContext{
			ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
		c.Env = append(c.Env, corev1.EnvVar{Name: "SKY", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "colours"}, Key: "sky"},
		}}, corev1.EnvVar{Name: "CPUS", ValueFrom: &corev1.EnvVarSource{
			ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"},
		}})
		addVolume(p, "colours", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "colours"},
		}})
		addVolume(p, "secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret"}})
		addVolume(p, "info", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{
				Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"},
			}},
		}})
	})
	for _, tt := range []struct{ got, want string }{
		{l.must(t, "configured", "env", "SKY"), "blue\n"},
		{l.must(t, "configured", "cat", "/etc/colours/sky"), "blue"},
		{l.must(t, "configured", "cat", "/etc/secret/word"), "xyzzy"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	patch := []byte(`{"metadata":{"labels":{"mood":"fine"}}}`)
	if _, err := core.Pods(namespace).Patch(ctx, "configured", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	l.await(t, "the new label to reach the volume", func(context.Context) bool {
		return strings.Contains(l.must(t, "configured", "cat", "/etc/info/labels"), `mood="fine"`)
	})
	t.Logf("a new label reached the volume after %s", time.Since(start).Round(10*time.Millisecond))
}

func addVolume(p *corev1.Pod, name string, source corev1.VolumeSource) {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	c := &p.Spec.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/etc/" + name, ReadOnly: true})
}

func (l *lab) testStreams(t *testing.T) {
	l.runPod(t, "streams", nil)
	l.await(t, "the pod's log", func(context.Context) bool {
		return l.logs(t, "streams", false) == "serving as streams\n"
	})
	if out, err := l.execute(t, "streams", "to and fro", "copy"); out != "to and fro" || err != nil {
		t.Errorf("exec with input: %q, %v", out, err)
	}
	_, err := l.execute(t, "streams", "", "exit", "7")
	if exit, ok := errors.AsType[utilexec.ExitError](err); !ok || exit.ExitStatus() != 7 {
		t.Errorf("exec of a command that fails: %v", err)
	}
	if got := l.forwarded(t, "streams"); !strings.HasPrefix(got, "streams worker") {
		t.Errorf("port-forward: %q", got)
	}
}

// forwarded fetches a page from the pod through a forwarded port.
func (l *lab) forwarded(t *testing.T, pod string) string {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(l.config)
	if err != nil {
		t.Fatal(err)
	}
	url := l.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	defer func() {
		close(stop)
		if err := <-ended; err != nil {
			t.Errorf("forwarding: %v", err)
		}
	}()
	select {
	case <-ready:
	case <-time.After(podTimeout):
		t.Fatal("the port is not forwarded")
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (l *lab) testProbe(t *testing.T) {
	pod := testPod("probed")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(9999)}},
		PeriodSeconds: 1,
	}
	if _, err := l.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.await(t, "the event of a failed probe", func(context.Context) bool {
		return strings.Contains(l.events(t), "probed: Unhealthy: Readiness probe failed")
	})
	got := l.awaitPod(t, "probed", "running", func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodRunning })
	if podReady(got) {
		t.Error("a pod whose probe fails is ready")
	}
}

func (l *lab) testRestart(t *testing.T) {
	pod := testPod("restarted")
	pod.Spec.Containers[0].Args = []string{"exit", "3"}
	if _, err := l.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.awaitPod(t, "restarted", "started again after exit code 3", func(p *corev1.Pod) bool {
		if p == nil || len(p.Status.ContainerStatuses) == 0 {
			return false
		}
		s := p.Status.ContainerStatuses[0]
		return s.RestartCount > 0 && s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 3
	})
}

func (l *lab) testTermination(t *testing.T) {
	l.runPod(t, "deleted", nil)
	// A container is running before its program is: the kernel drops a signal to a process 1 that has not said what it wants of it.
	l.await(t, "the pod to hear signals", func(context.Context) bool {
		return l.logs(t, "deleted", false) == "serving as deleted\n"
	})
	logs := make(chan string, 1)
	stream, err := l.client.CoreV1().Pods(namespace).GetLogs("deleted", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		data, _ := io.ReadAll(stream)
		logs <- string(data)
	}()
	if err := l.client.CoreV1().Pods(namespace).Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.awaitPod(t, "deleted", "gone", func(p *corev1.Pod) bool { return p == nil })
	select {
	case got := <-logs:
		if !strings.Contains(got, "ending on request") {
			t.Errorf("the pod did not see the signal; its log: %q", got)
		}
	case <-time.After(podTimeout):
		t.Error("the log does not end although the pod is gone")
	}
}

func (l *lab) testDeployment(t *testing.T) {
	ctx := t.Context()
	l.deploy(t, "web", 2)
	first := l.awaitReplicas(t, "web", 2)
	_, err := l.client.AppsV1().Deployments(namespace).Patch(ctx, "web", types.MergePatchType,
		[]byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{FieldManager: "scaler"})
	if err != nil {
		t.Fatal(err)
	}
	if scaled := l.awaitReplicas(t, "web", 4); len(scaled) != 4 || len(first) != 2 {
		t.Errorf("%d and %d pods", len(first), len(scaled))
	}
}

// deploy applies a Deployment of the test's pods.
func (l *lab) deploy(t *testing.T, name string, replicas int32) {
	t.Helper()
	object := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}}, Spec: podSpec(),
			},
		},
	}
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	options := metav1.PatchOptions{FieldManager: "e2e", Force: new(true)}
	deployments := l.client.AppsV1().Deployments(namespace)
	if _, err := deployments.Patch(t.Context(), name, types.ApplyPatchType, data, options); err != nil {
		t.Fatal(err)
	}
}

// awaitReplicas waits until that many pods of the Deployment are ready, and returns their names.
func (l *lab) awaitReplicas(t *testing.T, name string, want int) []string {
	t.Helper()
	var names []string
	l.await(t, fmt.Sprintf("%d ready pods of %s", want, name), func(ctx context.Context) bool {
		list, err := l.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil {
			t.Fatal(err)
		}
		names = nil
		for _, p := range list.Items {
			if podReady(&p) {
				names = append(names, p.Name)
			}
		}
		return len(names) == want && len(list.Items) == want
	})
	return names
}

func (l *lab) testExec(t *testing.T) {
	tests := []struct {
		name  string
		stdin string
		args  []string
		want  string
		code  int
	}{
		{"a node's routes", "", []string{"worker2", "--", "ip", "route", "show", "default"}, "default via 10.77.0.1 dev eth0 \n", 0},
		{
			"the external node sees the LAN, and load balancers by way of every worker", "", []string{"external", "--", "ip", "route"},
			"10.77.0.0/24 dev eth0 proto kernel scope link src 10.77.0.200 \n10.80.0.0/24 \n\tnexthop via 10.77.0.11 dev eth0 weight 1 \n" +
				"\tnexthop via 10.77.0.12 dev eth0 weight 1 \n\tnexthop via 10.77.0.13 dev eth0 weight 1 \n", 0,
		},
		{"standard input and exit status", "7", []string{"worker", "--", "sh", "-c", "read n; hostname; exit $n"}, "worker\n", 7},
		{"an unknown command", "", []string{"worker", "--", "no-such-command"}, "", 127},
		{"an unknown node", "", []string{"worker9", "--", "true"}, "", 1},
	}
	for _, tt := range tests {
		out, stderr, code := l.run(t, tt.stdin, append([]string{"exec"}, tt.args...)...)
		if out != tt.want || code != tt.code {
			t.Errorf("%s: exit code %d, output %q\n%s", tt.name, code, out, stderr)
		}
	}
}
