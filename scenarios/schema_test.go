package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the schema, compiled by a library that knows the whole of JSON Schema.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var text bytes.Buffer
	if err := Schema(&text); err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(SchemaID, parsed); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bySchema validates YAML as an editor does.
func bySchema(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	parsed, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(parsed))
	if err != nil {
		return err // no JSON can be made of it
	}
	return s.Validate(value)
}

func TestSchemaIsWrittenDown(t *testing.T) {
	var text bytes.Buffer
	if err := Schema(&text); err != nil {
		t.Fatal(err)
	}
	document(t, filepath.Join("..", "docs", "scenario.schema.json"), text.Bytes())
}

func TestSchemaTakesEveryScenario(t *testing.T) {
	s := compiled(t)
	for _, name := range Names() {
		text, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchema(t, s, string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		loaded, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Marshal(loaded)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchema(t, s, string(again)); err != nil {
			t.Errorf("%s as a run's folder keeps it: %v\n%s", name, err, again)
		}
	}
	if err := bySchema(t, s, valid); err != nil {
		t.Error(err)
	}
}

// TestSchemaSaysWhatEveryFieldMeans: an editor shows it.
func TestSchemaSaysWhatEveryFieldMeans(t *testing.T) {
	says := typeComments()
	for _, field := range []string{"Echo.standby", "Client.vantage", "Client.zipfExponent", "Event.at", "Gateway.policy", "Expect.confidence"} {
		if says[field] == "" {
			t.Errorf("%s has no description", field)
		}
	}
	if got, want := says["Client.duration"], "instead of requests"; got != want {
		t.Errorf("%q, want %q: the words of files", got, want)
	}
}

// TestSchemaAndLoadAgree changes one field of a valid file at a time to what is just outside of each bound and set. Both
// must refuse it: a schema that knows other bounds than the program would be worse than none.
func TestSchemaAndLoadAgree(t *testing.T) {
	s := compiled(t)
	for _, row := range []struct{ name, text string }{
		{"an unknown version", scenario(t, "v1alpha1", "v1beta1")},
		{"an unknown kind", scenario(t, "kind: Scenario", "kind: Scenarios")},
		{"no version", scenario(t, "apiVersion: podskew.dev/v1alpha1\n", "")},
		{"no metadata", scenario(t, "metadata:\n  name: base\n", "")},
		{"no clients", scenario(t, valid[strings.Index(valid, "  clients:"):strings.Index(valid, "  events:")], "", "stream: web, ", "")},
		{"a name with a capital", scenario(t, "name: base", "name: Base")},
		{"an unknown topic", scenario(t, "name: base", "name: base\n  topic: all")},
		{"no such mode", scenario(t, "spec:\n", "spec:\n  requires: {proxyModes: [userspace]}\n")},
		{"an unknown field at the top", valid + "status: {}\n"},
		{"an unknown field of a client", scenario(t, "connections: 4", "conections: 4")},
		{"an unknown field of an event", scenario(t, "{at: 2s, scale: 12}", "{at: 2s, sclae: 12}")},
		{"text for a number", scenario(t, "connections: 4", "connections: \"4\"")},
		{"a fraction for a count", scenario(t, "connections: 4", "connections: 4.5")},
		{"a number for a duration", scenario(t, "duration: 5s", "duration: 5")},
		{"a duration with a word", scenario(t, "duration: 5s", "duration: 5 seconds")},
		{"a list for a mapping", scenario(t, "echo:\n    replicas: 6", "echo: [6]")},
		{"a mapping for a list", scenario(t, "events:\n    - {at: 2s, scale: 12}", "events: {at: 2s, scale: 12}")},
		{"no pods", scenario(t, "replicas: 6", "replicas: 0")},
		{"too many pods", scenario(t, "replicas: 6", fmt.Sprintf("replicas: %d", maxReplicas+1))},
		{"replicas and placement", scenario(t, "replicas: 6", "replicas: 6\n    placement: {worker: 1}")},
		{"no such type of Service", scenario(t, "type: NodePort", "type: ExternalName")},
		{"no such affinity", scenario(t, "type: NodePort", "type: NodePort\n    sessionAffinity: Cookie")},
		{"no such policy", scenario(t, "type: NodePort", "type: NodePort\n    externalTrafficPolicy: local")},
		{"no such vantage", scenario(t, "vantage: external", "vantage: outside")},
		{"no such target", scenario(t, "target: nodePort", "target: ingress")},
		{"no such protocol", scenario(t, "connections: 4", "connections: 4\n      protocol: http3")},
		{"requests and duration", scenario(t, "duration: 5s", "duration: 5s\n      requests: 5")},
		{"neither requests nor duration", scenario(t, "      duration: 5s\n", "")},
		{"too many streams", scenario(t, "connections: 4", "connections: 4\n      protocol: http2\n      streamsPerConnection: 1001")},
		{"jitter above all", scenario(t, "connections: 4", "connections: 4\n      connectionLifetime: 1s\n      lifetimeJitter: 1.5")},
		{"two actions in an event", scenario(t, "scale: 12", "scale: 12, restart: true")},
		{"an event that does nothing", scenario(t, "{at: 2s, scale: 12}", "{at: 2s}")},
		{"no such finding", scenario(t, "finding: Balanced", "finding: Unbalanced")},
		{"no such metric", scenario(t, "metric: maxOverMean", "metric: skew")},
		{"a finding and a metric", scenario(t, "finding: Balanced", "finding: Balanced\n      metric: cv")},
		{"an expectation of nothing", scenario(t, "- finding: Balanced", "- stream: web")},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := Load("x.yaml", []byte(row.text)); err == nil {
				t.Error("Load takes it")
			}
			if err := bySchema(t, s, row.text); err == nil {
				t.Error("the schema takes it")
			}
		})
	}
}

// TestSchemaRulesAreOfFields: a rule for a field that is not there says nothing.
func TestSchemaRulesAreOfFields(t *testing.T) {
	says := map[string]bool{".timeoutSeconds": true} // of a struct without a name
	collectFields(says)
	for path := range schemaRules() {
		if !says[path] {
			t.Errorf("there is no field %s", path)
		}
	}
}

// TestDurationsOfTheSchema: an editor must not mark what runs.
func TestDurationsOfTheSchema(t *testing.T) {
	s := compiled(t)
	for text, want := range map[string]bool{
		"5s": true, "1m30s": true, "1.5s": true, ".5s": true, "500ms": true, "1h": true, "100000us": true,
		"5": false, "5sec": false, "s": false, "1m 30s": false, "five seconds": false,
	} {
		file := scenario(t, "duration: 5s", "duration: "+text)
		_, err := Load("x.yaml", []byte(file))
		loads := err == nil || !strings.Contains(err.Error(), "not a duration") && !strings.Contains(err.Error(), "has no unit")
		if loads != want {
			t.Errorf("%q: Load says %v", text, err)
		}
		if err := bySchema(t, s, file); (err == nil) != want {
			t.Errorf("%q: the schema says %v", text, err)
		}
	}
}

// TestSchemaRefusesMalformedFiles: of the malformed files, those that are YAML at all are refused unless only Load can see
// what is wrong, which their name says.
func TestSchemaRefusesMalformedFiles(t *testing.T) {
	s := compiled(t)
	for _, path := range malformed(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := bySchema(t, s, string(text)) != nil
		if byMeaning := strings.HasPrefix(filepath.Base(path), "meaning-"); refused == byMeaning {
			t.Errorf("%s: refused by the schema: %v", filepath.Base(path), refused)
		}
	}
}
