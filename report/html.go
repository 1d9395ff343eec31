package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/podskew/podskew/analyze"
)

//go:embed html/*.tmpl
var htmlFiles embed.FS

// HTML writes the report as one page that needs nothing else: no network, no script. It follows the reader's choice of light
// or dark, prints, and gives every chart as a table too. A report of any size makes a page of a few megabytes at most: what
// is too much to be told apart is put together, and the page says so.
func HTML(w io.Writer, r *analyze.Report) error {
	t, err := template.ParseFS(htmlFiles, "html/*.tmpl")
	if err != nil {
		return fmt.Errorf("reading the templates of the HTML report: %w", err)
	}
	return writeHTML(w, t, "page.tmpl", newHTMLPage(finite(r)))
}

// writeHTML renders a page. The lines that templates leave empty are left out.
func writeHTML(w io.Writer, t *template.Template, name string, data any) error {
	var page bytes.Buffer
	if err := t.ExecuteTemplate(&page, name, data); err != nil {
		return fmt.Errorf("writing the report as HTML: %w", err)
	}
	for line := range bytes.Lines(page.Bytes()) {
		if len(line) <= 1 {
			continue
		}
		if _, err := w.Write(line); err != nil {
			return fmt.Errorf("writing the report as HTML: %w", err)
		}
	}
	return nil
}

// htmlPage is what the page's template shows; everything in it is worded and measured already.
type htmlPage struct {
	Title, Circumstances string
	Verdict              string
	Tone                 string // of the verdict: error, warning, info or ok
	Failed               string // how many expectations do not hold; "" if all do
	Actions              []string
	Findings             []htmlFinding
	Paths                *htmlTable
	Streams              []*htmlStream
	BothEnds             string
	Servers              *htmlTable
	Expectations         []htmlExpectation
	ExpectationsHead     string
	Notes                []string
	Facts                []htmlPair
	Foot                 string
}

// htmlPair is a name and its value.
type htmlPair struct{ Name, Value string }

type htmlExpectation struct {
	Passed, NotApplicable bool
	Name, Detail          string
}

// htmlFinding is one finding with its evidence.
type htmlFinding struct {
	ID, Severity, Code, Stream, Summary string
	ByDesign                            bool
	Remedies                            []htmlRemedy
	Evidence                            []htmlPair
	Tables                              []htmlTable
}

type htmlRemedy struct {
	What      string
	Predicted []htmlPair
}

// htmlTable is a plain table.
type htmlTable struct {
	Caption string
	Head    []htmlCell
	Rows    [][]htmlCell
	Left    string // how much was left out; "" nothing
}

// htmlCell is a cell of a plain table.
type htmlCell struct {
	Text  string
	Right bool // a number
	Class string
}

func newHTMLPage(r *analyze.Report) *htmlPage {
	p := &htmlPage{
		Title: clean(title(r)), Circumstances: circumstances(r), Verdict: clean(verdict(r)), Tone: htmlTone(r), Facts: htmlFacts(r),
		Foot: htmlFoot(r), BothEnds: clean(bothEndsWords(r.BothEnds)), Servers: serverTable(r), Paths: pathsTable(r),
	}
	if f := worst(r.Findings); f != nil && severityRank(f.Severity) < severityRank(analyze.Info) {
		for _, remedy := range f.Remedies {
			p.Actions = append(p.Actions, clean(remedy.What))
		}
	}
	for i, f := range bySeverity(r.Findings) {
		p.Findings = append(p.Findings, newHTMLFinding(i, f))
	}
	for i := range r.Streams {
		p.Streams = append(p.Streams, newHTMLStream(r, i))
	}
	if n := len(r.Expectations); n > 0 {
		p.ExpectationsHead = holding(r.Expectations)
		if bad := failed(r.Expectations); bad > 0 {
			p.Failed = fmt.Sprintf("%d of %s %s not hold", bad, count(n, "expectation"), do(bad))
		}
	}
	for _, e := range r.Expectations {
		p.Expectations = append(p.Expectations, htmlExpectation{Passed: e.Passed, NotApplicable: e.NotApplicable, Name: clean(e.Name), Detail: clean(e.Detail)})
	}
	for _, note := range r.Notes {
		p.Notes = append(p.Notes, clean(note))
	}
	return p
}

// htmlTone is the worst of what was found and expected.
func htmlTone(r *analyze.Report) string {
	f := worst(r.Findings)
	switch {
	case failed(r.Expectations) > 0 || f != nil && f.Severity == analyze.Error:
		return "error"
	case f != nil && f.Severity == analyze.Warning:
		return "warning"
	case len(r.Streams) == 0:
		return "info"
	default:
		return "ok"
	}
}

func htmlFoot(r *analyze.Report) string {
	text := "podskew"
	if r.Run.Tool != "" && r.Run.Tool != "imported" { // else a version
		text += " " + clean(r.Run.Tool)
	}
	return fmt.Sprintf("%s · seed %d · false-alarm budget of the whole report %s", text, r.Run.Seed, decimal(alphaOf(r)))
}

func alphaOf(r *analyze.Report) float64 {
	if r.Run.Alpha <= 0 {
		return 0.01
	}
	return r.Run.Alpha
}

// htmlFacts are the circumstances one by one.
func htmlFacts(r *analyze.Report) []htmlPair {
	var facts []htmlPair
	add := func(name, value string) {
		if value = clean(value); value != "" {
			facts = append(facts, htmlPair{name, value})
		}
	}
	add("Cluster", clusterWords(r.Cluster))
	add("kube-proxy", proxyMode(r.Cluster))
	add("Network plugin", r.Cluster.CNI)
	for _, n := range r.Cluster.Nodes {
		if len(facts) > 40 {
			add("Nodes", fmt.Sprintf("and %d more", len(r.Cluster.Nodes)))
			break
		}
		add("Node", nodeWords(n))
	}
	if s := r.Service; s != nil {
		add("Service", s.Namespace+"/"+s.Name+", "+s.Type)
		add("externalTrafficPolicy", s.ExternalTrafficPolicy)
	}
	return facts
}

func nodeWords(n analyze.NodeInfo) string {
	text := strings.Join(append([]string{n.Name}, n.IPs...), " ")
	if n.Zone != "" {
		text += ", zone " + n.Zone
	}
	if n.External {
		text += ", set apart for external clients"
	}
	return text
}
