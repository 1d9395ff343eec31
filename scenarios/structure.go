package scenarios

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var decimal = regexp.MustCompile(`^[+-]?(0|[1-9][0-9]*)$`)

// structure compares the document with the Go types it will be decoded into and notes every field that is unknown, given
// twice or of the wrong type, with its place. The decoder finds the same problems, but stops at the first and speaks of
// Go types; this pass speaks of the file. On the way it remembers where each field is.
type structure struct {
	src      *source
	problems *problems
}

// value checks one node against the type it is for.
func (c *structure) value(path string, node ast.Node, typ reflect.Type) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if _, ok := node.(*ast.NullNode); ok || node == nil {
		return // as if it were not there: the place is remembered, the default applies, or validation misses it
	}
	c.src.set[path] = true
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		c.duration(path, node)
	case typ.Kind() == reflect.Struct:
		c.fields(path, node, typ)
	case typ.Kind() == reflect.Map:
		c.mapping(path, node, typ.Elem())
	case typ.Kind() == reflect.Slice:
		c.list(path, node, typ.Elem())
	case typ.Kind() == reflect.String:
		c.text(path, node)
	case typ.Kind() == reflect.Int:
		c.integer(path, node)
	case typ.Kind() == reflect.Bool:
		c.boolean(path, node)
	default:
		c.float(path, node)
	}
}

// fields checks a mapping with known fields.
func (c *structure) fields(path string, node ast.Node, typ reflect.Type) {
	types := map[string]reflect.Type{}
	var names []string
	for field := range typ.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" {
			names = append(names, name)
			types[name] = field.Type
		}
	}
	c.entries(path, node, func(key string, keyAt position, value ast.Node) {
		if typ, ok := types[key]; ok {
			c.value(fieldPath(path, key), value, typ)
			return
		}
		if advice := misplaced(key, value); advice != "" {
			c.problems.addAt(keyAt, fieldPath(path, key), "%s", advice)
			return
		}
		if near := nearest(key, names); near != "" {
			c.problems.addAt(keyAt, fieldPath(path, key), "unknown field: did you mean %s?", near)
			return
		}
		c.problems.addAt(keyAt, fieldPath(path, key), "unknown field: known here are %s", joinWords(names))
	})
}

// misplaced says what to do about keys that are no slips of the hand; "" if nothing special is known.
func misplaced(key string, value ast.Node) string {
	_, nothing := value.(*ast.NullNode)
	switch {
	case nothing && decimal.MatchString(key):
		return "a number where a field is wanted: decimals have a point, 1.4, and a comma begins the next field"
	case key == "ports" || key == "selector":
		return "unknown field: podskew chooses the ports of its Services and the pods behind them itself: remove it"
	case key == "host":
		return "unknown field: podskew writes the names of its Services itself: remove it"
	case key == "minimumRingSize":
		return "unknown field here, and Istio's older form: write ringHash: {minimumRingSize: 1024}"
	case key == "image":
		return "unknown field: the pods are always podskew's own echo pods (--image says where the nodes find them): remove it"
	default:
		return ""
	}
}

// mapping checks a mapping with free keys.
func (c *structure) mapping(path string, node ast.Node, elem reflect.Type) {
	c.entries(path, node, func(key string, _ position, value ast.Node) {
		c.value(fieldPath(path, key), value, elem)
	})
}

// entries calls yield for each key that stands in the mapping for the first time, and notes the others.
func (c *structure) entries(path string, node ast.Node, yield func(key string, keyAt position, value ast.Node)) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		c.wrong(path, node, "a mapping (key: value lines)")
		return
	}
	first := map[string]position{}
	for entries := mapping.MapRange(); entries.Next(); {
		key, keyAt := keyText(entries.Key()), nodePosition(entries.Key())
		if at, seen := first[key]; seen {
			c.problems.addAt(keyAt, fieldPath(path, key), "given twice, first on line %d: remove one", at.line)
			continue
		}
		first[key] = keyAt
		c.src.at[fieldPath(path, key)] = keyAt
		if at := nodePosition(entries.Value()); isScalar(entries.Value()) {
			c.src.at[fieldPath(path, key)] = at
		}
		yield(key, keyAt, entries.Value())
	}
}

func (c *structure) list(path string, node ast.Node, elem reflect.Type) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		c.wrong(path, node, "a list (lines that start with -)")
		return
	}
	for i, item := range sequence.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.src.at[at] = nodePosition(item)
		if _, null := item.(*ast.NullNode); null {
			c.problems.add(at, "empty list item: remove it")
			continue
		}
		c.value(at, item, elem)
	}
}

func (c *structure) text(path string, node ast.Node) {
	switch node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		c.wrong(path, node, fmt.Sprintf("text; write %q in quotes if it is meant as text", node.GetToken().Value))
	default:
		c.wrong(path, node, "text")
	}
}

func (c *structure) boolean(path string, node ast.Node) {
	if _, ok := node.(*ast.BoolNode); ok {
		return
	}
	want := "true or false"
	switch strings.ToLower(node.GetToken().Value) {
	case "yes", "on", "y", "true":
		want = "true or false: write true"
	case "no", "off", "n", "false":
		want = "true or false: write false"
	}
	c.wrong(path, node, want)
}

func (c *structure) integer(path string, node ast.Node) {
	text := node.GetToken().Value
	if _, ok := node.(*ast.IntegerNode); !ok {
		want := "a whole number, such as 4"
		if isScalar(node) && decimal.MatchString(text) {
			want = "a whole number, without quotes: " + text
		}
		c.wrong(path, node, want)
		return
	}
	if !decimal.MatchString(text) {
		c.problems.add(path, "%s: write a plain decimal number", text)
		return
	}
	if _, err := strconv.ParseInt(text, 10, 32); err != nil {
		c.problems.add(path, "%s is too large: at most %d", text, math.MaxInt32)
	}
}

func (c *structure) float(path string, node ast.Node) {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if f, err := strconv.ParseFloat(node.GetToken().Value, 64); err != nil || math.IsInf(f, 0) {
			c.problems.add(path, "%s: write a plain decimal number", node.GetToken().Value)
		}
	default:
		want := "a number"
		if percent, ok := strings.CutSuffix(node.GetToken().Value, "%"); ok {
			if f, err := strconv.ParseFloat(percent, 64); err == nil {
				want += ": write " + strconv.FormatFloat(f/100, 'f', -1, 64)
			}
		}
		c.wrong(path, node, want)
	}
}

func (c *structure) duration(path string, node ast.Node) {
	text := node.GetToken().Value
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		c.problems.add(path, "%s has no unit: write %ss for seconds, %sms for milliseconds, %sm for minutes", text, text, text, text)
	case *ast.StringNode:
		if _, err := time.ParseDuration(text); err != nil {
			c.problems.add(path, "%q is not a duration: write a number with a unit (ms, s, m, h), such as 500ms, 5s or 1m30s", text)
		}
	default:
		c.wrong(path, node, "a duration, such as 500ms, 5s or 1m30s")
	}
}

// wrong notes that a value is of another type than the field.
func (c *structure) wrong(path string, node ast.Node, want string) {
	if path == "" {
		c.problems.addAt(nodePosition(node), path, "%s, where a scenario is wanted: it starts with apiVersion: %s", kindOf(node), APIVersion)
		return
	}
	c.problems.add(path, "%s, where the field wants %s", kindOf(node), want)
}

// kindOf names what a node is in the words of a YAML file.
func kindOf(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.InfinityNode, *ast.NanNode:
		return "no finite number"
	case *ast.BoolNode:
		return "true or false"
	default:
		return "text"
	}
}

func isScalar(node ast.Node) bool {
	_, ok := node.(ast.ScalarNode)
	_, null := node.(*ast.NullNode)
	return ok && !null
}

// keyText returns a key as it was written, without quotes.
func keyText(key ast.MapKeyNode) string { return key.GetToken().Value }

// nodePosition returns where a node begins; of a mapping that is its first key, not the colon the parser stands on.
func nodePosition(node ast.Node) position {
	if node == nil {
		return position{}
	}
	if mapping, ok := node.(ast.MapNode); ok {
		if entries := mapping.MapRange(); entries.Next() {
			node = entries.Key()
		}
	}
	token := node.GetToken()
	if token == nil || token.Position == nil {
		return position{}
	}
	return position{token.Position.Line, token.Position.Column}
}
