package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ordinaryUser is a user of whom the machine knows nothing.
const ordinaryUser = 23456

// TestTraffic sends real traffic through kube-proxy in both modes, as root and, if the test may, as an ordinary user.
func TestTraffic(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		for _, uid := range []int{0, ordinaryUser} {
			t.Run(fmt.Sprintf("%s as user %d", mode, uid), func(t *testing.T) {
				if uid != 0 && os.Getuid() != 0 {
					t.Skip("only root can run a lab as another user; as an ordinary user, the other half of the test is the same")
				}
				t.Parallel()
				l := startLab(t, options{args: []string{"--workers", "2", "--proxy-mode", mode}, uid: uid})
				l.testTraffic(t)
			})
		}
	}
}

func (l *lab) testTraffic(t *testing.T) {
	t.Helper()
	onNode := func(node, app string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.NodeName = node
			p.Labels["app"] = app
		}
	}
	l.runPod(t, "echo1", onNode("worker", "echo"))
	l.runPod(t, "echo2", onNode("worker2", "echo"))
	client := l.runPod(t, "client", onNode("worker", "client"))
	l.runPod(t, "outside", func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		p.Spec.NodeSelector = map[string]string{"podskew.dev/external": "true"}
		p.Spec.Tolerations = []corev1.Toleration{{Key: "podskew.dev/external", Operator: corev1.TolerationOpExists}}
	})
	service := l.expose(t, "echo", corev1.ServiceExternalTrafficPolicyCluster)
	local := l.expose(t, "echo-local", corev1.ServiceExternalTrafficPolicyLocal)

	t.Log("by name, from a pod: both pods answer and see the client's own address")
	l.await(t, "both pods to answer", func(context.Context) bool {
		out, err := l.execute(t, "client", "", "get", "http://echo.default.svc.cluster.local/", "30")
		return err == nil && fmt.Sprint(l.answers(out)) == fmt.Sprintf("map[echo1:[%[1]s] echo2:[%[1]s]]", client.Status.PodIP)
	})

	t.Log("by node port, from outside, policy Cluster: both pods answer and see the node, or its pod gateway")
	url := fmt.Sprintf("http://10.77.0.11:%d/", service.Spec.Ports[0].NodePort)
	l.await(t, "both pods to answer outside", func(context.Context) bool {
		out, err := l.execute(t, "outside", "", "get", url, "30")
		return err == nil && fmt.Sprint(l.answers(out)) == "map[echo1:[10.78.1.1] echo2:[10.77.0.11]]"
	})

	t.Log("policy Local: only the node's own pod answers and sees the client")
	url = fmt.Sprintf("http://10.77.0.12:%d/", local.Spec.Ports[0].NodePort)
	l.await(t, "the node's own pod to answer outside", func(context.Context) bool {
		out, err := l.execute(t, "outside", "", "get", url, "30")
		return err == nil && fmt.Sprint(l.answers(out)) == "map[echo2:[10.77.0.200]]"
	})

	t.Log("the external node reaches neither pods nor services")
	for _, url := range []string{"http://" + client.Status.PodIP + ":8080/", "http://" + service.Spec.ClusterIP + "/"} {
		if out, err := l.execute(t, "outside", "", "get", url, "1"); err == nil {
			t.Errorf("%s answers: %s", url, out)
		}
	}
	if got, err := l.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods/outside:8080/proxy/").
		DoRaw(t.Context()); err != nil || !strings.HasPrefix(string(got), "outside external") {
		t.Errorf("pod proxy to the external node: %q, %v", got, err)
	}
}

// expose makes a Service of type NodePort for the echo pods.
func (l *lab) expose(t *testing.T, name string, policy corev1.ServiceExternalTrafficPolicy) *corev1.Service {
	t.Helper()
	service, err := l.client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "echo"}, ExternalTrafficPolicy: policy,
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// answers returns, by pod that answered, the client addresses that it saw.
func (l *lab) answers(out string) map[string][]string {
	seen := map[string][]string{}
	for line := range strings.Lines(out) {
		var pod, node, client string
		if _, err := fmt.Sscan(line, &pod, &node, &client); err != nil {
			continue
		}
		host, _, err := net.SplitHostPort(client)
		if err != nil {
			continue
		}
		known := false
		for _, s := range seen[pod] {
			known = known || s == host
		}
		if !known {
			seen[pod] = append(seen[pod], host)
		}
	}
	return seen
}
