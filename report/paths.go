package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podskew/podskew/analyze"
)

// manyStreams is from how many streams on a report with paths shows streams one by one only where there is room for all.
const manyStreams = 9

// folded reports whether the streams are told by their paths alone, and findings that are no trouble in one line each.
func folded(r *analyze.Report, wide bool) bool {
	return !wide && len(r.Paths) > 0 && len(r.Streams) >= manyStreams
}

// writePaths writes where connections led and whose address the pods saw, one table per Service.
func writePaths(p *page, r *analyze.Report) error {
	if len(r.Paths) == 0 {
		return nil
	}
	p.heading("Paths: where connections led, and whose address the pods saw")
	p.text(plain, "  ", pathsWords(r.Paths)+".")
	for _, paths := range byService(r.Paths) {
		p.blank()
		p.text(bold, "  ", "Service "+clean(serviceWords(paths)))
		if err := p.table(pathTable(paths)); err != nil {
			return err
		}
	}
	for i := range r.Paths {
		if len(r.Paths[i].Deviations) > 0 {
			p.blank()
			p.text(yellow, "  ! ", clean(wayWords(&r.Paths[i])+": "+strings.Join(r.Paths[i].Deviations, "; ")))
		}
	}
	return nil
}

// pathsWords says of all paths together whether they are as the rules have them.
func pathsWords(paths []analyze.Path) string {
	deviating := 0
	for i := range paths {
		if len(paths[i].Deviations) > 0 {
			deviating++
		}
	}
	switch {
	case deviating == 0 && len(paths) == 1:
		return "The path is as kube-proxy's rules have it"
	case deviating == 0:
		return fmt.Sprintf("All %d paths are as kube-proxy's rules have them", len(paths))
	case deviating == 1:
		return fmt.Sprintf("1 of %s is not as kube-proxy's rules have it (!)", count(len(paths), "path"))
	}
	return fmt.Sprintf("%d of %d paths are not as kube-proxy's rules have them (!)", deviating, len(paths))
}

// byService cuts a list of paths where the Service changes.
func byService(paths []analyze.Path) [][]analyze.Path {
	var out [][]analyze.Path
	for i := range paths {
		if i == 0 || paths[i].Service != paths[i-1].Service {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], paths[i])
	}
	return out
}

// serviceWords names the Service of paths and the policies that they met.
func serviceWords(paths []analyze.Path) string {
	var settings []string
	for i := range paths {
		if s := paths[i].Setting; s != "" {
			if text := s + " " + paths[i].Policy; !slices.Contains(settings, text) {
				settings = append(settings, text)
			}
		}
	}
	slices.Sort(settings)
	if len(settings) == 0 {
		return paths[0].Service
	}
	return paths[0].Service + " (" + strings.Join(settings, ", ") + ")"
}

func pathTable(paths []analyze.Path) *table {
	rows, _ := ends(len(paths), len(paths))
	at := func(i int) *analyze.Path { return &paths[i] }
	t := &table{}
	t.add(column{head: "  from", min: 12, cells: marked(rows, at)})
	t.add(column{head: "dials", min: 14, cells: cells(rows, func(i int) string { return dialWords(at(i)) })})
	t.add(column{head: "applies", drop: 1, cells: cells(rows, func(i int) string { return orNone(at(i).InForce) })})
	t.add(column{head: "pods", right: true, cells: cells(rows, func(i int) string { return podsReached(at(i)) })})
	t.add(column{head: "the pods saw", cells: cells(rows, func(i int) string { return sawWords(at(i)) })})
	return t
}

// marked are the cells that say where from, with a mark before those that are not as they should be.
func marked(rows []int, at func(int) *analyze.Path) []string {
	out := make([]string, len(rows))
	for k, i := range rows {
		mark := nbsp + nbsp
		if len(at(i).Deviations) > 0 {
			mark = "!" + nbsp
		}
		out[k] = mark + clean(standWords(at(i)))
	}
	return out
}

// standWords says where the clients are: pod worker, node worker2, external, or in the echo pods of a node: echo worker.
func standWords(p *analyze.Path) string {
	if p.Vantage == "external" || p.From == "" {
		return p.Vantage
	}
	if p.InEcho {
		return "echo " + p.From
	}
	return p.Vantage + " " + p.From
}

// dialWords says what they dial: clusterIP, nodePort worker2, nodePort 127.0.0.1.
func dialWords(p *analyze.Path) string {
	if p.To == "" {
		return p.Target
	}
	return p.Target + " " + p.To
}

// wayWords is a path in a sentence.
func wayWords(p *analyze.Path) string {
	return fmt.Sprintf("%s → %s of %s (%s)", standWords(p), dialWords(p), p.Service, p.Stream)
}

// podsReached is how many pods answered, of how many the rules let it reach.
func podsReached(p *analyze.Path) string {
	if len(p.Measured.Backends) == 0 && p.Reachable == 0 {
		return none
	}
	return fmt.Sprintf("%d/%d", len(p.Measured.Backends), p.Reachable)
}

// sawWords is whose addresses the pods saw or, where nobody answered, why not.
func sawWords(p *analyze.Path) string {
	classes := classesOf(p.Measured.Sources)
	if p.Measured.Outcome != "answer" {
		classes = append(classes, endWords(&p.Measured))
	}
	return strings.Join(classes, ", ")
}

func classesOf(sources []analyze.PathSource) []string {
	var out []string
	for _, s := range sources {
		text := s.Class
		switch {
		case !s.Itself:
			out = append(out, text)
		case len(out) > 0:
			out[len(out)-1] += " (self: " + text + ")" // a pod that reaches itself
		default:
			out = append(out, "self: "+text)
		}
	}
	return out
}

// endWords says in a few words what became of what was not answered.
func endWords(e *analyze.PathEnd) string {
	switch e.Outcome {
	case "timeout":
		return "nothing: dropped"
	case "refused":
		return "nothing: refused"
	case "none":
		return "nothing: not tried"
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(e.Errors)) {
		kinds = append(kinds, fmt.Sprintf("%s %s", kind, integer(e.Errors[kind])))
	}
	return strings.Join(kinds, ", ")
}

// pathExpected says what the rules make of a path.
func pathExpected(p *analyze.Path) string {
	switch p.Expected.Outcome {
	case "answer":
		return strings.Join(classesOf(p.Expected.Sources), ", ")
	case "timeout":
		return "dropped"
	case "unknown":
		return "not known"
	}
	return p.Expected.Outcome
}

// pathsTable shows all there is to say of each path.
func pathsTable(r *analyze.Report) *htmlTable {
	if len(r.Paths) == 0 {
		return nil
	}
	t := &htmlTable{Caption: pathsWords(r.Paths), Head: []htmlCell{
		{Text: "Service"}, {Text: "from"}, {Text: "dials"}, {Text: "policy"}, {Text: "applies"}, {Text: "pods", Right: true}, {Text: "the pods saw"},
		{Text: "kube-proxy's rules"}, {Text: "answers by node"}, {Text: "stream"},
	}}
	rows, left := ends(len(r.Paths), maxListed)
	for _, i := range rows {
		p := &r.Paths[i]
		agrees := htmlCell{Text: clean(pathExpected(p))}
		if len(p.Deviations) > 0 {
			agrees = htmlCell{Text: clean("! " + strings.Join(p.Deviations, "; ")), Class: "differs"}
		}
		t.Rows = append(t.Rows, []htmlCell{
			{Text: clean(p.Service)}, {Text: clean(standWords(p))}, {Text: clean(dialWords(p))}, {Text: clean(orNone(p.Policy))},
			{Text: clean(orNone(p.InForce))}, {Text: podsReached(p), Right: true}, {Text: clean(sawLong(p))}, agrees,
			{Text: clean(nodesWords(p))}, {Text: clean(p.Stream)},
		})
	}
	t.Left = leftWords(left, "path")
	return t
}

// sawLong is whose addresses the pods saw, with their parts and the addresses.
func sawLong(p *analyze.Path) string {
	var parts []string
	for _, s := range p.Measured.Sources {
		text := s.Class
		if s.Itself {
			text = "self: " + text
		}
		if len(p.Measured.Sources) > 1 {
			text += " " + percent(s.Share)
		}
		addresses := s.Addresses
		if len(addresses) > maxAddresses {
			addresses = append(slices.Clone(addresses[:maxAddresses]), "…")
		}
		parts = append(parts, text+" ("+strings.Join(addresses, " ")+")")
	}
	if p.Measured.Outcome != "answer" {
		parts = append(parts, endWords(&p.Measured))
	}
	return strings.Join(parts, ", ")
}

func nodesWords(p *analyze.Path) string {
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(p.Measured.Nodes)) {
		parts = append(parts, fmt.Sprintf("%s %s", orNone(node), integer(p.Measured.Nodes[node])))
	}
	if len(parts) == 0 {
		return none
	}
	return strings.Join(parts, ", ")
}

// markdownPaths writes the paths as one table.
func markdownPaths(b *strings.Builder, r *analyze.Report) {
	if len(r.Paths) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Paths\n\n%s.\n\n| Service | from | dials | policy | pods | the pods saw | kube-proxy's rules |\n|---|---|---|---|---|---|---|\n", escape(pathsWords(r.Paths)))
	for i := range r.Paths {
		p := &r.Paths[i]
		rules := pathExpected(p)
		if len(p.Deviations) > 0 {
			rules = "! " + strings.Join(p.Deviations, "; ")
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", escape(p.Service), escape(standWords(p)), escape(dialWords(p)), escape(orNone(p.Policy)),
			escape(podsReached(p)), escape(sawWords(p)), escape(rules))
	}
}

// foldedFindings writes findings that are no trouble in one line for each code, with the streams they are about.
func foldedFindings(p *page, findings []analyze.Finding) {
	var order []string
	streams := map[string][]string{}
	for _, f := range findings {
		if !quiet(f) {
			continue
		}
		title := findingTitle(analyze.Finding{Code: f.Code, Severity: f.Severity, ByDesign: f.ByDesign})
		if streams[title] == nil {
			order = append(order, title)
		}
		streams[title] = append(streams[title], f.Stream)
	}
	for _, title := range order {
		p.text(plain, "  ", title)
		names, more := slices.DeleteFunc(streams[title], func(s string) bool { return s == "" }), ""
		if len(names) > maxAddresses {
			names, more = names[:maxAddresses], fmt.Sprintf(" and %d more", len(names)-maxAddresses)
		}
		p.text(plain, "    ", clean(strings.Join(names, ", ")+more))
	}
}
