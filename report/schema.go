package report

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// Schema writes the JSON Schema (draft 2020-12) of what [JSON] writes, made from the types themselves. Keys it does not name
// are allowed: later versions add some.
func Schema(w io.Writer) error {
	s := schema{defs: map[string]any{}}
	root := s.of(reflect.TypeFor[analyze.Report]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://" + record.Version + "/report.schema.json"
	root["title"] = "podskew report"
	root["$defs"] = s.defs
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("writing the schema of reports: %w", err)
	}
	return nil
}

// schema collects the definitions of structs by name.
type schema struct{ defs map[string]any }

// of describes the values of a type as they are in JSON.
func (s *schema) of(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[analyze.Severity]():
		return map[string]any{"enum": []any{analyze.Info, analyze.Warning, analyze.Error}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	default: // an interface: anything
		return map[string]any{}
	}
}

// structure describes a struct once, under its name; the report itself is described in place.
func (s *schema) structure(t reflect.Type) map[string]any {
	name := strings.ToLower(t.Name()[:1]) + t.Name()[1:]
	reference := map[string]any{"$ref": "#/$defs/" + name}
	if _, known := s.defs[name]; known {
		return reference
	}
	s.defs[name] = nil // a type may hold itself
	properties, required := map[string]any{}, []any{}
	s.fields(t, properties, &required)
	described := map[string]any{"type": "object", "properties": properties, "required": required}
	if t == reflect.TypeFor[analyze.Report]() {
		delete(s.defs, name)
		return described
	}
	s.defs[name] = described
	return reference
}

func (s *schema) fields(t reflect.Type, properties map[string]any, required *[]any) {
	for field := range t.Fields() {
		key, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case key == "-" || !field.IsExported():
			continue
		case field.Anonymous && key == "":
			s.fields(field.Type, properties, required)
			continue
		case key == "":
			key = field.Name
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		value := s.of(field.Type)
		if field.Type.Kind() == reflect.Pointer && !optional {
			value = map[string]any{"anyOf": []any{value, map[string]any{"type": "null"}}}
		}
		properties[key] = value
		if !optional {
			*required = append(*required, key)
		}
	}
}
