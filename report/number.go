package report

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// none stands where there is no number.
const none = "–"

// integer writes n with a comma between thousands.
func integer(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return sign + s
}

// count writes a number of things: 1 connection, 8 connections.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	switch {
	case strings.HasSuffix(thing, "ss"):
		thing += "es"
	default:
		thing += "s"
	}
	return integer(n) + " " + thing
}

// decimal writes f for a sentence, with as many places as its size deserves.
func decimal(f float64) string {
	s := someDigits(f)
	if strings.Contains(s, ".") && !strings.Contains(s, "e") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func someDigits(f float64) string {
	abs := math.Abs(f)
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return none
	case abs >= 1e15:
		return strconv.FormatFloat(f, 'g', 3, 64)
	case abs >= 100:
		return integer(int(math.Round(f)))
	case abs >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	case abs >= 0.1 || f == 0:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case abs >= 0.001:
		return strconv.FormatFloat(f, 'f', 3, 64)
	default:
		return strconv.FormatFloat(f, 'g', 2, 64)
	}
}

// places writes f with a fixed number of places, so that a column of them lines up.
func places(f float64, n int) string {
	if math.IsNaN(f) || math.Abs(f) >= 1e9 {
		return decimal(f)
	}
	return strconv.FormatFloat(f, 'f', n, 64)
}

// percent writes a fraction as a percentage with one place.
func percent(f float64) string {
	s := places(100*f, 1)
	if s == none {
		return s
	}
	return s + nbsp + "%"
}

// percentRange writes an interval of fractions.
func percentRange(r analyze.Range) string {
	if math.IsNaN(r[0]) || math.IsNaN(r[1]) {
		return none
	}
	return places(100*r[0], 1) + "–" + places(100*r[1], 1) + nbsp + "%"
}

// seconds writes a duration given in seconds in the unit that suits it.
func seconds(f float64) string {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return none
	case f < 0.0009995:
		return places(1e6*f, 0) + nbsp + "µs"
	case f < 0.009995:
		return places(1e3*f, 2) + nbsp + "ms"
	case f < 0.09995:
		return places(1e3*f, 1) + nbsp + "ms"
	case f < 0.9995:
		return places(1e3*f, 0) + nbsp + "ms"
	case f < 99.95:
		return places(f, 1) + nbsp + "s"
	default:
		return decimal(f) + nbsp + "s"
	}
}

// probability writes a p-value; below what a simulation can resolve only the bound is meant.
func probability(p float64) string {
	relation, value := "=", strconv.FormatFloat(p, 'g', 3, 64)
	switch {
	case math.IsNaN(p):
		value = "unknown"
	case p < 0.0001:
		relation, value = "<", "0.0001"
	}
	return "p" + nbsp + relation + nbsp + value
}

// errorWords lists errors by kind, those without any left out.
func errorWords(errors map[record.ErrorKind]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(errors)) {
		n := errors[kind]
		if n == 0 {
			continue
		}
		var words string
		switch kind {
		case record.ErrRefused:
			words = "refused"
		case record.ErrTimeout:
			words = "timed out"
		case record.ErrReset:
			words = "reset"
		case record.ErrStatus:
			words = "answered with an error status"
		case record.ErrDNS:
			words = "without an address (DNS)"
		case record.ErrParse:
			words = "answered with something that is not HTTP"
		default:
			words = "failed otherwise"
		}
		parts = append(parts, integer(n)+" "+words)
	}
	if len(parts) == 0 {
		return "no errors"
	}
	return strings.Join(parts, ", ")
}

// errorKinds lists errors by kind in few columns.
func errorKinds(errors map[record.ErrorKind]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(errors)) {
		if n := errors[kind]; n != 0 {
			parts = append(parts, integer(n)+" "+string(kind))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// facts writes named values as a sentence part: max/mean 1.1 to 1.4, idle pods 0. Tables inside them are left to JSON.
func facts(values map[string]any) string {
	parts := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if v := reflect.ValueOf(values[key]); !isTable(v) {
			parts = append(parts, keyWords(key)+" "+valueWords(v))
		}
	}
	return strings.Join(parts, ", ")
}

// isTable tells whether v is a list of rows.
func isTable(v reflect.Value) bool {
	if v.Kind() != reflect.Slice || v.Len() == 0 {
		return false
	}
	row := v.Index(0)
	if row.Kind() == reflect.Interface {
		row = row.Elem()
	}
	return row.Kind() == reflect.Map || row.Kind() == reflect.Struct
}

// keyWords turns lowerCamel into words.
func keyWords(key string) string {
	switch key {
	case "maxOverMean":
		return "max/mean"
	case "cv":
		return "CV"
	case "p":
		return "p"
	default:
	}
	var words []string
	last := 'A'
	for _, r := range clean(key) {
		if len(words) == 0 || unicode.IsUpper(r) && !unicode.IsUpper(last) {
			words = append(words, "")
		}
		words[len(words)-1] += string(r)
		last = r
	}
	for i, word := range words {
		if _, size := utf8.DecodeRuneInString(word); strings.ToLower(word[size:]) == word[size:] { // else an abbreviation such as IP
			words[i] = strings.ToLower(word)
		}
	}
	return strings.Join(words, " ")
}

// valueWords writes what an analysis may put into evidence: numbers, text, lists, intervals and maps of them.
func valueWords(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Invalid:
		return none
	case reflect.Interface, reflect.Pointer:
		return valueWords(v.Elem())
	case reflect.Float32, reflect.Float64:
		return decimal(v.Float())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(int(v.Int()))
	case reflect.String:
		return clean(v.String())
	case reflect.Array, reflect.Slice:
		parts := make([]string, 0, v.Len())
		for i := range v.Len() {
			parts = append(parts, valueWords(v.Index(i)))
		}
		if isInterval(v) {
			return strings.Join(parts, " to ")
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		for _, key := range v.MapKeys() {
			parts = append(parts, keyWords(fmt.Sprint(key.Interface()))+" "+valueWords(v.MapIndex(key)))
		}
		slices.Sort(parts)
		return "(" + strings.Join(parts, ", ") + ")"
	default:
		return clean(fmt.Sprint(v.Interface()))
	}
}

// isInterval tells whether v is a pair of numbers of which the second is not the smaller.
func isInterval(v reflect.Value) bool {
	if v.Len() != 2 {
		return false
	}
	ends := [2]float64{}
	for i := range 2 {
		end := v.Index(i)
		if end.Kind() == reflect.Interface {
			end = end.Elem()
		}
		if !end.IsValid() || !end.CanFloat() {
			return false
		}
		ends[i] = end.Float()
	}
	return ends[0] <= ends[1]
}
