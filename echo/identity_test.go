package echo

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fullEnv is what a complete manifest sets.
func fullEnv() map[string]string {
	return map[string]string{
		"POD_NAME": "echo-7d4b9-x2x4z", "POD_NAMESPACE": "podskew-run", "POD_IP": "10.78.1.2",
		"POD_UID": "0f0c3b6e-6b5a-4f0e-9b7f-1d2c3b4a5f60", "NODE_NAME": "worker.example", "HOST_IP": "fd00::1",
		"SERVICE_ACCOUNT": "default", "NODE_ZONE": "eu-1_a", "LIMITS_CPU": "500", "LIMITS_MEMORY": "134217728",
		"REQUESTS_CPU": "10m", "REQUESTS_MEMORY": "1.5Gi",
	}
}

func fullIdentity() Identity {
	return Identity{
		Pod: "echo-7d4b9-x2x4z", Namespace: "podskew-run", PodIP: "10.78.1.2", PodUID: "0f0c3b6e-6b5a-4f0e-9b7f-1d2c3b4a5f60",
		Node: "worker.example", HostIP: "fd00::1", ServiceAccount: "default", Zone: "eu-1_a",
		Resources: Resources{Limits: Amounts{CPU: "500", Memory: "134217728"}, Requests: Amounts{CPU: "10m", Memory: "1.5Gi"}},
	}
}

func lookupIn(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestReadIdentity(t *testing.T) {
	tests := []struct {
		name   string
		change func(env map[string]string)
		want   func(id *Identity)
	}{
		{"a complete environment", func(map[string]string) {}, func(*Identity) {}},
		{
			"a missing variable", func(env map[string]string) { delete(env, "NODE_NAME") },
			func(id *Identity) { id.Node, id.Unknown = Unknown, []string{"node"} },
		},
		{
			"an empty variable counts as missing", func(env map[string]string) { env["POD_IP"] = "" },
			func(id *Identity) { id.PodIP, id.Unknown = Unknown, []string{"podIP"} },
		},
		{
			"a missing zone is nothing to report", func(env map[string]string) { delete(env, "NODE_ZONE") },
			func(id *Identity) { id.Zone = "" },
		},
		{
			"a malformed zone is", func(env map[string]string) { env["NODE_ZONE"] = "-a" },
			func(id *Identity) { id.Zone, id.Unknown = "", []string{"zone"} },
		},
		{
			"the prefix K8S_", func(env map[string]string) {
				delete(env, "POD_NAME")
				env["K8S_POD_NAME"] = "other"
			},
			func(id *Identity) { id.Pod = "other" },
		},
		{
			"the prefix RESOURCE_ and the other order of words", func(env map[string]string) {
				delete(env, "LIMITS_CPU")
				delete(env, "REQUESTS_MEMORY")
				env["RESOURCE_LIMITS_CPU"], env["RESOURCE_MEMORY_REQUEST"] = "2", "64Mi"
			},
			func(id *Identity) { id.Resources.Limits.CPU, id.Resources.Requests.Memory = "2", "64Mi" },
		},
		{
			"RESOURCE_ is no prefix of a name", func(env map[string]string) {
				delete(env, "POD_NAME")
				env["RESOURCE_POD_NAME"] = "other"
			},
			func(id *Identity) { id.Pod, id.Unknown = Unknown, []string{"pod"} },
		},
		{
			"the plain name goes before a prefix", func(env map[string]string) { env["K8S_POD_NAME"] = "other" }, func(*Identity) {},
		},
		{
			"a malformed plain name is not papered over by a prefix", func(env map[string]string) {
				env["POD_NAME"], env["K8S_POD_NAME"] = "Not A Pod", "other"
			},
			func(id *Identity) { id.Pod, id.Unknown = Unknown, []string{"pod"} },
		},
		{
			"an unexpanded reference, a name instead of an address, and a unit of nothing", func(env map[string]string) {
				env["NODE_NAME"], env["POD_IP"], env["LIMITS_MEMORY"] = "$(NODE_NAME)", "worker", "Mi"
			},
			func(id *Identity) {
				id.Node, id.PodIP, id.Resources.Limits.Memory = Unknown, Unknown, Unknown
				id.Unknown = []string{"node", "podIP", "resources.limits.memory"}
			},
		},
		{
			"a header smuggled in", func(env map[string]string) { env["POD_NAME"] = "a\r\nSet-Cookie: b" },
			func(id *Identity) { id.Pod, id.Unknown = Unknown, []string{"pod"} },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env, want := fullEnv(), fullIdentity()
			test.change(env)
			test.want(&want)
			if diff := cmp.Diff(want, ReadIdentity(lookupIn(env))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodThatKnowsNothingListsEverythingButTheZone(t *testing.T) {
	got := ReadIdentity(lookupIn(nil)).Unknown
	want := []string{
		"hostIP", "namespace", "node", "pod", "podIP", "podUID",
		"resources.limits.cpu", "resources.limits.memory", "resources.requests.cpu", "resources.requests.memory", "serviceAccount",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheZoneLabelGoesBeforeTheEnvironment(t *testing.T) {
	tests := []struct{ name, env, label, want, unknown string }{
		{"no label", "a", "", "a", ""},
		{"a label", "a", "b", "b", ""},
		{"a label repairs a malformed variable", "!", "b", "b", ""},
		{"a malformed label", "a", "!", "", "zone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env := fullEnv()
			env["NODE_ZONE"] = test.env
			got := ReadIdentity(lookupIn(env)).withZone(test.label)
			if got.Zone != test.want || strings.Join(got.Unknown, " ") != test.unknown {
				t.Errorf("zone %q, unknown %v, want %q and %q", got.Zone, got.Unknown, test.want, test.unknown)
			}
		})
	}
}

// FuzzReadIdentity: whatever the environment holds, each field is either what a variable said or unknown and listed, and
// nothing of it can break a header.
func FuzzReadIdentity(f *testing.F) {
	for _, value := range slices.Sorted(maps.Values(fullEnv())) {
		f.Add(value)
	}
	f.Add("a\r\nb")
	f.Fuzz(func(t *testing.T, value string) {
		id := ReadIdentity(func(string) (string, bool) { return value, true })
		for _, field := range identityFields(&id) {
			listed := slices.Contains(id.Unknown, field.name)
			known := *field.to == value && value != ""
			missing := field.optional && value == ""
			if known == listed && !missing {
				t.Errorf("%s is %q from %q, listed as unknown: %v", field.name, *field.to, value, listed)
			}
			if strings.ContainsAny(*field.to, "\r\n\x00 ") {
				t.Errorf("%s is %q, unfit for a header", field.name, *field.to)
			}
		}
	})
}
