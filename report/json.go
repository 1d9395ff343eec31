package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// JSON writes the report as the JSON document other programs rely on: indented, with a line end, and the same bytes for
// the same report. Lists that the contract names are there even when empty. A number that is not finite, which JSON does
// not have, becomes 0 (not a number) or the largest number (infinity), and a note says where.
func JSON(w io.Writer, r *analyze.Report) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(finite(r)); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	if _, err := w.Write(visible(out.Bytes())); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// visible writes what a terminal would act on or not show as escapes. Only the strings of a document can hold any, and there
// an escape means the same.
func visible(document []byte) []byte {
	hidden := func(r rune) bool { return r != '\n' && r != ' ' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(document, hidden) < 0 {
		return document
	}
	out := make([]byte, 0, len(document)+64)
	for _, r := range string(document) {
		if !hidden(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, half := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, half)
		}
	}
	return out
}

// finite returns a copy of a report that JSON can hold.
func finite(r *analyze.Report) *analyze.Report {
	var c copier
	out, ok := reflect.TypeAssert[analyze.Report](c.value(reflect.ValueOf(*r), ""))
	if !ok {
		return r // cannot be: a copy has the type of what it copies
	}
	for i := range out.Streams {
		s := &out.Streams[i]
		if s.Errors == nil {
			s.Errors = map[record.ErrorKind]int{}
		}
		for _, kind := range []record.ErrorKind{record.ErrRefused, record.ErrTimeout} {
			if _, there := s.Errors[kind]; !there {
				s.Errors[kind] = 0
			}
		}
	}
	if len(c.notFinite) > 0 {
		out.Notes = append(out.Notes, "Numbers that are not finite were replaced: "+strings.Join(c.notFinite, ", ")+".")
	}
	return &out
}

// copier copies what a report is made of and remembers the numbers it had to replace.
type copier struct{ notFinite []string }

func (c *copier) value(v reflect.Value, path string) reflect.Value {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		return reflect.ValueOf(c.float(v.Float(), path)).Convert(v.Type())
	case reflect.Struct:
		return c.fields(v, path)
	case reflect.Slice:
		return c.list(v, path)
	case reflect.Array:
		out := reflect.New(v.Type()).Elem()
		for i := range v.Len() {
			out.Index(i).Set(c.value(v.Index(i), fmt.Sprintf("%s[%d]", path, i)))
		}
		return out
	case reflect.Map:
		return c.mapping(v, path)
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(c.value(v.Elem(), path))
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		return c.value(v.Elem(), path)
	default:
		return v
	}
}

func (c *copier) float(f float64, path string) float64 {
	switch {
	case math.IsNaN(f):
		c.notFinite = append(c.notFinite, path)
		return 0
	case math.IsInf(f, 0):
		c.notFinite = append(c.notFinite, path)
		return math.Copysign(math.MaxFloat64, f)
	default:
		return f
	}
}

func (c *copier) fields(v reflect.Value, path string) reflect.Value {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return v
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(v) // with what JSON does not show
	for field, value := range v.Fields() {
		if !field.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		out.FieldByIndex(field.Index).Set(c.value(value, strings.TrimPrefix(path+"."+name, ".")))
	}
	return out
}

// list copies a list; one that is not there becomes an empty one, so that readers may iterate without asking.
func (c *copier) list(v reflect.Value, path string) reflect.Value {
	out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	for i := range v.Len() {
		out.Index(i).Set(c.value(v.Index(i), fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

// mapping copies a map in the order of its keys, so that the notes are the same each time.
func (c *copier) mapping(v reflect.Value, path string) reflect.Value {
	out := reflect.MakeMapWithSize(v.Type(), v.Len())
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, key := range keys {
		out.SetMapIndex(key, c.value(v.MapIndex(key), fmt.Sprintf("%s.%v", path, key)))
	}
	return out
}
