package scenarios

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file. The parser's time and memory grow with the square of the nesting and of the keys of one mapping, so
// both are bounded before it sees the file.
const (
	maxBytes   = 1 << 20
	maxTokens  = 20_000
	maxNesting = 16
)

// Load parses one scenario file, applies the defaults and checks it. The name is used in errors only. The error is an
// [*InvalidError] with every problem found: those of structure (unknown and repeated fields, wrong types) or, if there
// are none, those of meaning (values out of range, combinations that cannot be).
func Load(name string, data []byte) (*Scenario, error) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	found := &problems{src: newSource(name, text)}
	document := parse(text, found)
	if document == nil {
		return nil, found.err()
	}
	(&structure{src: found.src, problems: found}).value("", document, reflect.TypeFor[Scenario]())
	if err := found.err(); err != nil {
		if foreign := foreignHead(document, found.src); foreign != nil {
			return nil, foreign // of something else than a scenario all fields are unknown, which helps nobody
		}
		return nil, err
	}
	s := &Scenario{src: found.src}
	if err := yaml.NodeToValue(document, s, yaml.Strict()); err != nil {
		found.addParser(err)
		return nil, found.err()
	}
	setDefaults(s)
	validate(s, found)
	if err := found.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// foreignHead is the problem of a file that says it is something else than a scenario of this version; nil if it does not.
func foreignHead(document ast.Node, src *source) error {
	found := &problems{src: src}
	version, kind := textOf(child(document, "apiVersion")), textOf(child(document, "kind"))
	const whole = "\"podskew scenarios show keepalive\" prints a whole file"
	switch {
	case kind != "" && kind != Kind:
		found.add("kind", "%q is not a scenario: write apiVersion: %s and kind: %s; %s", kind, APIVersion, Kind, whole)
	case version != "" && version != APIVersion:
		found.add("apiVersion", "%q is not supported: write apiVersion: %s; %s", version, APIVersion, whole)
	default:
		return nil
	}
	return found.err()
}

// textOf is a text of the file, "" if the node is none.
func textOf(node ast.Node) string {
	if text, ok := node.(*ast.StringNode); ok {
		return text.Value
	}
	return ""
}

// parse returns the root node of the file's only document, or nil and notes why.
func parse(text string, found *problems) (root ast.Node) {
	if !acceptText(text, found) {
		return nil
	}
	// The parser is fuzzed less than its users would like: an input that breaks it is a bad file, not a crash.
	defer func() {
		if r := recover(); r != nil {
			found.add("", "cannot be parsed as YAML")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	if !acceptTokens(tokens, found) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		found.addParser(err)
		return nil
	}
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		if root != nil {
			found.addAt(nodePosition(document.Body), "", "a second document: one file holds one scenario, put the other in a file of its own")
			return nil
		}
		root = document.Body
	}
	if root == nil && strings.Count("\n"+text, "\n---") > 1 {
		found.add("", "the first of several documents is empty: one file holds one scenario, after one line --- at most")
		return nil
	}
	if root == nil {
		found.add("", "empty: a scenario starts with apiVersion: %s and kind: %s", APIVersion, Kind)
	}
	return root
}

// acceptText notes a file that is too large or not text.
func acceptText(text string, found *problems) bool {
	if len(text) > maxBytes {
		found.addAt(position{}, "", "%d bytes: a scenario has at most %d", len(text), maxBytes)
		return false
	}
	for i, line := range found.src.lines {
		if !utf8.ValidString(line) {
			found.addAt(position{i + 1, 1}, "", "not UTF-8 text")
			return false
		}
		line = strings.TrimSuffix(line, "\r")
		if at := strings.IndexFunc(line, isControl); at >= 0 {
			column := utf8.RuneCountInString(line[:at]) + 1
			found.addAt(position{i + 1, column}, "", "a control character, which YAML text must not hold")
			return false
		}
	}
	return true
}

func isControl(r rune) bool { return r != '\t' && unicode.IsControl(r) || r == '\ufeff' }

// acceptTokens notes what a scenario does not need and what makes parsing costly: anchors and aliases (which can make a
// small file huge), tags, directives, deep nesting, more documents than one.
func acceptTokens(tokens token.Tokens, found *problems) bool {
	if len(tokens) > maxTokens {
		found.addAt(position{}, "", "more than %d words and signs: this is not a scenario", maxTokens)
		return false
	}
	flow, dashes, line, documents := 0, 0, 0, 0
	for _, t := range tokens {
		at := position{t.Position.Line, t.Position.Column}
		if at.line != line {
			line, dashes = at.line, 0
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			found.addAt(at, "", "anchors, aliases and merge keys are not supported: write the value out")
		case token.TagType, token.DirectiveType:
			found.addAt(at, "", "YAML tags and directives are not supported: remove it")
		case token.MappingKeyType:
			found.addAt(at, "", "keys with ? are not supported: write key: value")
		case token.DocumentHeaderType:
			documents++
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			dashes++
		default:
		}
		if flow+dashes > maxNesting || documents > maxNesting {
			found.addAt(at, "", "nested deeper than any scenario")
			return false
		}
	}
	return len(found.list) == 0
}

// addParser notes an error of the YAML library at the place it names.
func (p *problems) addParser(err error) {
	at, message := position{1, 1}, err.Error()
	if e, ok := errors.AsType[yaml.Error](err); ok {
		message = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = position{t.Position.Line, t.Position.Column}
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	line := ""
	if at.line >= 1 && at.line <= len(p.src.lines) {
		line = p.src.lines[at.line-1]
	}
	message = strings.ToValidUTF8(message, "?")
	if advice := yamlAdvice(message, line, p.src.lines); advice != "" {
		message += ": " + advice
	}
	p.addAt(at, "", "not valid YAML: %s", message)
}

// yamlAdvice says what to write where the YAML library only says what it did not expect; "" if nobody knows.
func yamlAdvice(message, line string, lines []string) string {
	conflict := func(line string) bool {
		return strings.HasPrefix(line, "<<<<<<< ") || strings.HasPrefix(line, ">>>>>>> ")
	}
	switch {
	case slices.ContainsFunc(lines, conflict):
		return "a merge left both sides in the file: keep one, and remove the lines with <<<<<<<, ======= and >>>>>>>"
	case strings.Contains(line, "{{"):
		return "{{ }} is a template: write the value, or render the file first"
	case strings.Contains(message, "found character '\t'"):
		return "YAML is indented with blanks, never with tabs: write two blanks for each step"
	case strings.Contains(message, "mapping value is not allowed"):
		return "text with a colon and a blank in it needs quotes, and the fields of one mapping need the same indent"
	case strings.Contains(message, "value is not allowed in this context"):
		return "give all fields of one mapping the same indent, and those below a field more than it has"
	case strings.Contains(message, "quoted text"):
		return "a quote that begins needs one that ends: add it at the end of the text"
	case strings.Contains(message, "end token"), strings.Contains(message, "flow map"), strings.Contains(message, "flow sequence"):
		return "every { needs its } and every [ its ]"
	default:
		return ""
	}
}

// Marshal returns the scenario as a file that [Load] reads back to the same scenario.
func Marshal(s *Scenario) ([]byte, error) {
	data, err := yaml.MarshalWithOptions(s, yaml.Indent(2), yaml.IndentSequence(true), yaml.CustomMarshaler(quoteText))
	if err != nil {
		return nil, fmt.Errorf("writing scenario %q: %w", s.Metadata.Name, err)
	}
	return data, nil
}

var plainText = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_./]*$`)

// quoteText writes text in double quotes unless it is a plain word: left to itself the YAML library loses
// spaces at the ends, tabs and some line breaks.
func quoteText(text string) ([]byte, error) {
	if plainText.MatchString(text) && !slices.Contains([]string{"true", "false", "null"}, strings.ToLower(text)) {
		return []byte(text), nil
	}
	return []byte(strconv.Quote(text)), nil
}
