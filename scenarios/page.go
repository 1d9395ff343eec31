package scenarios

import (
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Page writes docs/scenarios.md: every built-in scenario with its comment, settings, expectations and links, after a table
// by question. All of it comes from the files.
func Page(w io.Writer) error {
	p := &libraryPage{}
	if err := p.read(); err != nil {
		return err
	}
	p.head()
	for _, topic := range Topics() {
		p.topic(topic)
	}
	if _, err := io.WriteString(w, strings.TrimRight(p.out.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("writing the page of scenarios: %w", err)
	}
	return nil
}

// libraryPage collects the page.
type libraryPage struct {
	out     strings.Builder
	entries []entry
}

// entry is one scenario of the library.
type entry struct {
	*Scenario

	comment []string // paragraphs of the comment at the head of the file
	spec    ast.Node // as it stands in the file
	topic   string
}

func (p *libraryPage) read() error {
	for _, name := range Names() {
		text, err := Source(name)
		if err != nil {
			return err
		}
		s, err := Load(name+".yaml", text)
		if err != nil {
			return err
		}
		file, err := parser.ParseBytes(text, 0)
		if err != nil {
			return fmt.Errorf("reading built-in scenario %q: %w", name, err)
		}
		p.entries = append(p.entries, entry{
			Scenario: s, comment: HeadComment(text), spec: child(file.Docs[0].Body, "spec"), topic: TopicOf(s),
		})
	}
	return nil
}

// HeadComment returns the paragraphs of the comment a file begins with, each on one line.
func HeadComment(text []byte) []string {
	var out []string
	paragraph := ""
	for line := range strings.Lines(string(text)) {
		comment, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "#")
		if !ok {
			break
		}
		comment = strings.TrimSpace(comment)
		if comment == "" && paragraph != "" {
			out, paragraph = append(out, paragraph), ""
			continue
		}
		paragraph = strings.TrimSpace(paragraph + " " + comment)
	}
	if paragraph != "" {
		out = append(out, paragraph)
	}
	return out
}

func (p *libraryPage) head() {
	fmt.Fprintf(&p.out, `<!-- Made from scenarios/builtin by "make update": change the files there. -->
# The scenario library

%d scenarios, each of which asks one question and knows the answer: its expectations hold by design, on the lab and on any
cluster with kube-proxy. "podskew run NAME" runs one, "podskew run --all" all of them, "podskew scenarios show NAME" prints
the file, to be changed.

`, len(p.entries))
	for _, topic := range Topics() {
		fmt.Fprintf(&p.out, "**%s**\n\n| scenario | what it shows |\n| --- | --- |\n", topic.Question)
		for _, e := range p.entries {
			if e.topic == topic.Name {
				fmt.Fprintf(&p.out, "| [%s](#%s) | %s |\n", e.Metadata.Name, e.Metadata.Name, cell(e.Metadata.Description))
			}
		}
		p.out.WriteByte('\n')
	}
}

// cell keeps text from ending a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func (p *libraryPage) topic(topic Topic) {
	fmt.Fprintf(&p.out, "## %s\n\n", topic.Question)
	for _, e := range p.entries {
		if e.topic == topic.Name {
			p.scenario(e)
		}
	}
}

func (p *libraryPage) scenario(e entry) {
	fmt.Fprintf(&p.out, "### %s\n\n", e.Metadata.Name)
	for _, paragraph := range e.comment {
		fmt.Fprintf(&p.out, "%s\n\n", escapeProse(paragraph))
	}
	p.settings(e)
	if need := needs(e.Scenario); need != "" {
		fmt.Fprintf(&p.out, "Needs %s; elsewhere it is skipped.\n\n", need)
	}
	links := make([]string, 0, len(e.Metadata.Links))
	for _, link := range e.Metadata.Links {
		links = append(links, markdownLink(link))
	}
	if len(links) > 0 {
		fmt.Fprintf(&p.out, "See %s.\n\n", strings.Join(links, ", "))
	}
}

// settings lists the file's spec, a line for each part.
func (p *libraryPage) settings(e entry) {
	for _, part := range []struct{ field, name string }{
		{"echo", "Pods"}, {"service", "Service"}, {"services", "Service"}, {"gateway", "Gateway"}, {"destinationRule", "DestinationRule"}, {"clients", "Client"},
		{"warmUp", "Warm-up"}, {"events", "Event"}, {"expect", "Expected"},
	} {
		node := child(e.spec, part.field)
		if list, ok := node.(*ast.SequenceNode); ok {
			for _, item := range list.Values {
				fmt.Fprintf(&p.out, "- %s: %s\n", part.name, code(item))
			}
		} else if node != nil {
			fmt.Fprintf(&p.out, "- %s: %s\n", part.name, code(node))
		}
	}
	p.out.WriteByte('\n')
}

func code(node ast.Node) string { return "`" + flow(node, false) + "`" }

// flow writes a node as one line of YAML, without comments.
func flow(node ast.Node, inside bool) string {
	switch n := node.(type) {
	case ast.MapNode:
		var parts []string
		for entries := n.MapRange(); entries.Next(); {
			parts = append(parts, keyText(entries.Key())+": "+flow(entries.Value(), true))
		}
		text := strings.Join(parts, ", ")
		if inside {
			return "{" + text + "}"
		}
		return text
	case *ast.SequenceNode:
		var parts []string
		for _, item := range n.Values {
			parts = append(parts, flow(item, true))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return strings.TrimSpace(n.GetToken().Value)
	}
}

// child returns a field of a mapping; nil if it has none.
func child(node ast.Node, key string) ast.Node {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil
	}
	for entries := mapping.MapRange(); entries.Next(); {
		if keyText(entries.Key()) == key {
			return entries.Value()
		}
	}
	return nil
}

// needs says what a scenario does not run without.
func needs(s *Scenario) string {
	var out []string
	if r := s.Spec.Requires; r != nil {
		if len(r.ProxyModes) > 0 {
			out = append(out, "kube-proxy in "+orWords(r.ProxyModes)+" mode")
		}
		if len(r.Providers) > 0 {
			out = append(out, "cluster "+orWords(r.Providers))
		}
	}
	if apis := APIs(s); len(apis) > 0 {
		out = append(out, "the API "+joinWords(apis))
	}
	if Unmet(s, Environment{Provider: "kind", ProxyMode: "nftables"}) != "" && len(out) == 0 {
		out = append(out, "the lab")
	}
	return joinWords(out)
}

// markdownLink links an address, or an issue named as owner/repository#number.
func markdownLink(link string) string {
	if strings.Contains(link, "://") {
		return "<" + link + ">"
	}
	repository, number, ok := strings.Cut(link, "#")
	if !ok {
		return link
	}
	return fmt.Sprintf("[%s](https://github.com/%s/issues/%s)", link, repository, number)
}

// escapeProse keeps a comment from being read as Markdown. Code in it is marked with ` as comments do.
func escapeProse(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", "&lt;", "#", `\#`).Replace(text)
}
