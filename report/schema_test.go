package report

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/podskew/podskew/analyze"
)

// schemaFile is where programs find the schema.
var schemaFile = filepath.Join("..", "docs", "report.schema.json")

func TestTheSchemaIsCurrent(t *testing.T) {
	got := written(t, Schema)
	if *update {
		if err := os.WriteFile(schemaFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/report.schema.json is not what the types say; make update:\n%s", diff)
	}
}

// validator compiles the schema.
func validator(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, Schema)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("report.schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func validate(t *testing.T, s *jsonschema.Schema, r *analyze.Report) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, func(w io.Writer) error { return JSON(w, r) })))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(document)
}

func TestReportsValidateAgainstTheSchema(t *testing.T) {
	s := validator(t)
	reports := pages()
	for seed := range uint64(10) {
		r := scramble(seed)
		reports[string(rune('a'+seed))] = r
	}
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		if name == "hostile" {
			continue // its severities are none
		}
		if err := validate(t, s, reports[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheSchemaRefuses makes sure that validating means something.
func TestTheSchemaRefuses(t *testing.T) {
	s := validator(t)
	rows := []struct {
		name   string
		change func(report map[string]any)
	}{
		{"a missing list", func(r map[string]any) { delete(r, "findings") }},
		{"a text for a number", func(r map[string]any) { r["streams"].([]any)[0].(map[string]any)["requests"] = "many" }},
		{"a fraction for a count", func(r map[string]any) { r["streams"].([]any)[0].(map[string]any)["requests"] = 1.5 }},
		{"an interval of one", func(r map[string]any) {
			r["streams"].([]any)[0].(map[string]any)["chance"].(map[string]any)["cv"] = []any{1}
		}},
		{"a severity that is none", func(r map[string]any) { r["findings"].([]any)[0].(map[string]any)["severity"] = "fatal" }},
		{"a start that is no time", func(r map[string]any) { r["run"].(map[string]any)["start"] = "yesterday" }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var report map[string]any
			if err := json.Unmarshal([]byte(written(t, func(w io.Writer) error { return JSON(w, keepalive()) })), &report); err != nil {
				t.Fatal(err)
			}
			row.change(report)
			var changed bytes.Buffer
			if err := json.NewEncoder(&changed).Encode(report); err != nil {
				t.Fatal(err)
			}
			document, err := jsonschema.UnmarshalJSON(&changed)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(document); err == nil {
				t.Error("accepted")
			}
		})
	}
}
