package scenarios

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"strings"
	"time"
)

// SchemaID names the schema of scenario files in editors and other tools.
const SchemaID = "https://podskew.dev/v1alpha1/scenario.schema.json"

// Schema writes the JSON Schema (draft 2020-12) of scenario files, for editors that complete and check while one types:
// made from the types that files are decoded into, the bounds of validation and the comments of this package. It is
// necessary, not sufficient: settings that contradict each other pass it and are found by [Load].
func Schema(w io.Writer) error {
	s := &schema{defs: map[string]any{}, rules: schemaRules(), says: typeComments()}
	root := s.structure(reflect.TypeFor[Scenario]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = SchemaID
	root["title"] = "podskew scenario"
	root["$defs"] = s.defs
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("writing the schema of scenario files: %w", err)
	}
	return nil
}

// schema collects the definitions of structs by name.
type schema struct {
	defs  map[string]any
	rules map[string]rule
	says  map[string]string // "Type" or "Type.field" → comment
}

// rule is what validation says about one field. The zero rule says nothing.
type rule struct {
	enum      []string
	low, high float64 // of a number; both 0: any
	longest   int     // of a text, in bytes; 0: any
	pattern   string
	most      int    // items of a list; 0: any
	keys      string // pattern of a mapping's keys; "": any
}

// of describes the values of a type as they are written in YAML.
func (s *schema) of(t reflect.Type, r rule) map[string]any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": durationPattern, "examples": []any{"500ms", "5s", "1m30s"}}
	case t.Kind() == reflect.Struct:
		return s.reference(t)
	case t.Kind() == reflect.Slice:
		list := map[string]any{"type": "array", "items": s.of(t.Elem(), rule{enum: r.enum, pattern: r.pattern})}
		if r.most > 0 {
			list["maxItems"] = r.most
		}
		return list
	case t.Kind() == reflect.Map:
		mapping := map[string]any{"type": "object", "additionalProperties": s.of(t.Elem(), rule{low: r.low, high: r.high})}
		if r.keys != "" {
			mapping["propertyNames"] = map[string]any{"pattern": r.keys}
		}
		return mapping
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Int:
		return bounded(map[string]any{"type": "integer", "minimum": math.MinInt32, "maximum": math.MaxInt32}, r)
	case t.Kind() == reflect.Float64:
		return bounded(map[string]any{"type": "number"}, r)
	default:
		return texts(r)
	}
}

const (
	// durationPattern is what time.ParseDuration takes of what is not negative.
	durationPattern = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`
	labelPattern    = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	nodePattern     = `^([a-z0-9]([-a-z0-9.]*[a-z0-9])?|newPods)$`
)

func bounded(s map[string]any, r rule) map[string]any {
	if r.low != 0 || r.high != 0 {
		s["minimum"], s["maximum"] = r.low, r.high
	}
	return s
}

func texts(r rule) map[string]any {
	out := map[string]any{"type": "string"}
	if len(r.enum) > 0 {
		out["enum"] = r.enum
	}
	if r.pattern != "" {
		out["pattern"] = r.pattern
	}
	if r.longest > 0 {
		out["maxLength"] = r.longest
	}
	return out
}

// reference describes a struct once, under its name.
func (s *schema) reference(t reflect.Type) map[string]any {
	name := lowerFirst(t.Name())
	if name == "" { // a struct without a name, which is described in place
		return s.structure(t)
	}
	if _, known := s.defs[name]; !known {
		s.defs[name] = nil
		s.defs[name] = s.structure(t)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (s *schema) structure(t reflect.Type) map[string]any {
	properties := map[string]any{}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		path := t.Name() + "." + name
		property := s.of(field.Type, s.rules[path])
		if what := s.says[path]; what != "" {
			property["description"] = what
		}
		properties[name] = property
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if what := s.says[t.Name()]; what != "" {
		out["description"] = what
	}
	maps.Copy(out, structRules()[t.Name()])
	return out
}

func lowerFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// structRules are what validation says about fields together.
func structRules() map[string]map[string]any {
	names := func(fields ...string) []any {
		out := make([]any, len(fields))
		for i, f := range fields {
			out[i] = f
		}
		return out
	}
	oneOf := func(fields ...string) []any {
		out := make([]any, len(fields))
		for i, f := range fields {
			out[i] = map[string]any{"required": []any{f}}
		}
		return out
	}
	return map[string]map[string]any{
		"Scenario":  {"required": names("apiVersion", "kind", "metadata", "spec")},
		"Metadata":  {"required": names("name")},
		"Spec":      {"required": names("clients")},
		"Echo":      {"not": map[string]any{"required": names("replicas", "placement")}},
		"Client":    {"required": names("name", "connections"), "oneOf": oneOf("requests", "duration")},
		"Gateway":   {"required": names("proxy")},
		"PortRange": {"required": names("from", "to")},
		"RateStep":  {"required": names("at", "rate")},
		"Event":     {"allOf": []any{map[string]any{"oneOf": oneOf("at", "afterRequests")}, map[string]any{"oneOf": oneOf(eventActions()...)}}},
		"Expect":    {"oneOf": oneOf("finding", "noFinding", "metric", "shares", "distribution")},

		"DestinationRule": {"required": names("trafficPolicy")},
		"TrafficPolicy":   {"required": names("loadBalancer")},
		"LoadBalancer":    {"oneOf": oneOf("simple", "consistentHash")},
		"ConsistentHash":  {"oneOf": oneOf("httpHeaderName", "httpCookie", "useSourceIp")},
		"HTTPCookie":      {"required": names("name")},
		"RingHash":        {"required": names("minimumRingSize")},
	}
}
