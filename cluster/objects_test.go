package cluster

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/podskew/podskew/scenarios"
)

var update = flag.Bool("update", false, "write the golden files anew")

// objectsOf are all objects of a deployment that do not depend on what the cluster answers.
func objectsOf(t *testing.T, s *scenarios.Scenario) []any {
	t.Helper()
	d, l := completed(t, s)
	out := []any{namespaceObject(d, l), accountObject(d), policyObject(d), echoServiceObject(d), canaryServiceObject(d)}
	out = append(out, secretObject(d.RunID, "token", []string{"b:80", "a:80", "b:80"}))
	for _, o := range echoDeployments(d, l) {
		out = append(out, o)
	}
	for _, a := range l.agents {
		out = append(out, agentPod(d, a))
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "echo-1", Namespace: namespaceOf(d.RunID), UID: "u1"}, Spec: corev1.PodSpec{NodeName: "worker"}, Status: corev1.PodStatus{PodIP: "10.78.1.2"}}
	return append(out, canarySliceObject(d, pod))
}

func TestObjects(t *testing.T) {
	for name, s := range map[string]*scenarios.Scenario{"keepalive": keepalive(), "etp-local": etpLocal()} {
		t.Run(name, func(t *testing.T) {
			var docs [][]byte
			for _, o := range objectsOf(t, s) {
				doc, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				docs = append(docs, doc)
			}
			got := bytes.Join(docs, []byte("---\n"))
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
			}
		})
	}
}

// podSpecs are the specs of every pod of a scenario.
func podSpecs(t *testing.T, s *scenarios.Scenario) map[string]*corev1ac.PodSpecApplyConfiguration {
	t.Helper()
	d, l := completed(t, s)
	out := map[string]*corev1ac.PodSpecApplyConfiguration{}
	for _, o := range echoDeployments(d, l) {
		out[*o.Name] = o.Spec.Template.Spec
	}
	for _, a := range l.agents {
		out[a.name] = agentPod(d, a).Spec
	}
	return out
}

func TestPodsHaveNoRightsTheyDoNotNeed(t *testing.T) {
	for _, s := range []*scenarios.Scenario{keepalive(), etpLocal()} {
		for name, p := range podSpecs(t, s) {
			if *p.AutomountServiceAccountToken || !*p.SecurityContext.RunAsNonRoot || *p.SecurityContext.RunAsUser != 65532 ||
				*p.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || len(p.Containers) != 1 {
				t.Errorf("%s: pod %+v", name, p.SecurityContext)
			}
			c := p.Containers[0].SecurityContext
			if *c.AllowPrivilegeEscalation || *c.Privileged || !*c.ReadOnlyRootFilesystem || len(c.Capabilities.Add) > 0 ||
				!cmp.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: container %+v", name, c)
			}
			for _, v := range p.Volumes {
				if v.HostPath != nil {
					t.Errorf("%s mounts the host's %s", name, *v.HostPath.Path)
				}
			}
			if r := p.Containers[0].Resources; (*r.Requests)[corev1.ResourceMemory] == (*r.Limits)[corev1.ResourceMemory] || r.Requests.Cpu().IsZero() || r.Limits.Memory().IsZero() {
				t.Errorf("%s: resources %+v", name, r)
			}
		}
	}
}

func TestTheNamespaceAdmitsTheHostNetworkOnlyWhereItIsNeeded(t *testing.T) {
	for want, s := range map[string]*scenarios.Scenario{"restricted": keepalive(), "privileged": etpLocal()} {
		d, l := completed(t, s)
		ns := namespaceObject(d, l)
		if got := ns.Labels["pod-security.kubernetes.io/enforce"]; got != want {
			t.Errorf("%s: %s", s.Metadata.Name, got)
		}
		if ns.Labels[labelRun] != "d0" || ns.Labels[labelManagedBy] != "podskew" {
			t.Errorf("labels %v", ns.Labels)
		}
	}
}

func TestAgentsStandWhereTheyShould(t *testing.T) {
	pods := podSpecs(t, etpLocal())
	outside, inside := pods["outside-0"], pods["inside-0"]
	if !*outside.HostNetwork || len(outside.Tolerations) != 1 || *outside.Tolerations[0].Key != labelExternal {
		t.Errorf("an external agent: host network %v, tolerations %+v", outside.HostNetwork, outside.Tolerations)
	}
	if !*inside.HostNetwork || len(inside.Tolerations) != 0 {
		t.Errorf("an agent on a node: host network %v, tolerations %+v", inside.HostNetwork, inside.Tolerations)
	}
	if web := podSpecs(t, keepalive())["web-0"]; web.HostNetwork != nil {
		t.Error("an agent in a pod is on the host's network")
	}
	s := keepalive()
	s.Spec.Clients[0].Node = "control-plane"
	web := podSpecs(t, s)["web-1"]
	if got := web.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values; !cmp.Equal(got, []string{"control-plane"}) || len(web.Tolerations) != 1 {
		t.Errorf("a client on a named node: %v, tolerations %+v", got, web.Tolerations)
	}
}

func TestTheServiceHasTheScenariosFields(t *testing.T) {
	s := keepalive()
	s.Spec.Service = scenarios.Service{Type: "LoadBalancer", ExternalTrafficPolicy: "Local", InternalTrafficPolicy: "Local", TrafficDistribution: "PreferSameZone", SessionAffinity: "None"}
	d, _ := completed(t, s)
	got := echoServiceObject(d).Spec
	if *got.Type != "LoadBalancer" || *got.ExternalTrafficPolicy != "Local" || *got.InternalTrafficPolicy != "Local" ||
		*got.TrafficDistribution != "PreferSameZone" || *got.SessionAffinity != "None" || got.ClusterIP != nil {
		t.Errorf("%+v", got)
	}
	if canary := canaryServiceObject(d).Spec; *canary.Type != "NodePort" || canary.Selector != nil || canary.ExternalTrafficPolicy != nil {
		t.Errorf("canary %+v", canary)
	}
	d.Scenario.Spec.Service = scenarios.Service{ClusterIP: "None"}
	if got := echoServiceObject(d).Spec; *got.ClusterIP != "None" || *got.Type != "ClusterIP" || got.SessionAffinity != nil {
		t.Errorf("headless %+v", got)
	}
}

func TestTheSecretListsEachTargetOnce(t *testing.T) {
	got := secretObject("d0", "x", []string{"b:1", "a:1", "b:1"}).Data
	if string(got["targets"]) != "a:1\nb:1\n" || string(got["token"]) != "x" {
		t.Errorf("%q", got)
	}
}

func TestNamesFromNodes(t *testing.T) {
	for in, want := range map[string]string{
		"worker":                   "worker",
		"Ip-10-0-0-1.eu.internal.": "ip-10-0-0-1-eu-internal",
		strings.Repeat("a", 60):    strings.Repeat("a", 40),
	} {
		if got := dnsLabel(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
