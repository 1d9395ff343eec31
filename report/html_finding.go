package report

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// maxEvidenceRows is how many rows of a table of evidence a page shows.
const maxEvidenceRows = 40

func newHTMLFinding(i int, f analyze.Finding) htmlFinding {
	out := htmlFinding{
		ID: fmt.Sprintf("finding-%d", i+1), Severity: severityName(f.Severity), Code: clean(string(f.Code)), Stream: clean(f.Stream),
		Summary: clean(f.Summary), ByDesign: f.ByDesign,
	}
	for _, r := range f.Remedies {
		out.Remedies = append(out.Remedies, htmlRemedy{What: clean(r.What), Predicted: pairsOf(r.Predicted)})
	}
	out.Evidence = pairsOf(f.Evidence)
	for _, key := range slices.Sorted(maps.Keys(f.Evidence)) {
		if v := reflect.ValueOf(f.Evidence[key]); isTable(v) {
			out.Tables = append(out.Tables, evidenceTable(key, v))
		}
	}
	return out
}

// severityName keeps what is not a severity from becoming a class of the page.
func severityName(s analyze.Severity) string {
	switch s {
	case analyze.Error, analyze.Warning:
		return string(s)
	default:
		return string(analyze.Info)
	}
}

// pairsOf returns named values in order; tables are left out.
func pairsOf(values map[string]any) []htmlPair {
	var pairs []htmlPair
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if v := reflect.ValueOf(values[key]); !isTable(v) {
			pairs = append(pairs, htmlPair{keyWords(key), limited(clean(valueWords(v)))})
		}
	}
	return pairs
}

// limited cuts text that no page has room for.
func limited(text string) string {
	const most = 2000
	if len(text) <= most {
		return text
	}
	first, _ := head(text, most/4)
	return first + "…"
}

// evidenceTable shows a list of rows. Rows are maps or structs; their columns are in order of name or of the struct.
func evidenceTable(name string, rows reflect.Value) htmlTable {
	t := htmlTable{Caption: keyWords(name)}
	var keys []string
	var cells []map[string]string
	numbers := map[string]bool{}
	for i := range min(rows.Len(), maxEvidenceRows) {
		row := rowOf(rows.Index(i))
		cell := map[string]string{}
		for _, pair := range row {
			if !slices.Contains(keys, pair.key) {
				keys = append(keys, pair.key)
			}
			cell[pair.key] = limited(clean(valueWords(pair.value)))
			numbers[pair.key] = numbers[pair.key] || isNumber(pair.value)
		}
		cells = append(cells, cell)
	}
	for _, key := range keys {
		t.Head = append(t.Head, htmlCell{Text: keyWords(key), Right: numbers[key]})
	}
	for _, cell := range cells {
		var row []htmlCell
		for _, key := range keys {
			row = append(row, htmlCell{Text: cell[key], Right: numbers[key]})
		}
		t.Rows = append(t.Rows, row)
	}
	if left := rows.Len() - len(t.Rows); left > 0 {
		t.Left = count(left, "more row") + " in the JSON report"
	}
	return t
}

type rowValue struct {
	key   string
	value reflect.Value
}

// rowOf returns the values of a row by name.
func rowOf(v reflect.Value) []rowValue {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	var row []rowValue
	switch v.Kind() {
	case reflect.Map:
		for _, key := range v.MapKeys() {
			row = append(row, rowValue{fmt.Sprint(key.Interface()), v.MapIndex(key)})
		}
		slices.SortFunc(row, func(a, b rowValue) int { return strings.Compare(a.key, b.key) })
	case reflect.Struct:
		for field, value := range v.Fields() {
			if field.IsExported() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if name == "" {
					name = field.Name
				}
				row = append(row, rowValue{name, value})
			}
		}
	default:
		row = append(row, rowValue{"value", v})
	}
	return row
}

func isNumber(v reflect.Value) bool {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v.IsValid() && (v.CanInt() || v.CanUint() || v.CanFloat())
}
