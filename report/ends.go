package report

import (
	"slices"

	"github.com/podskew/podskew/analyze"
)

// writeNodes writes what became of the connections to each node's port.
func writeNodes(p *page, s *analyze.Stream, wide bool) error {
	if len(s.Nodes) == 0 {
		return nil
	}
	rows, left := pick(len(s.Nodes), wide)
	node := func(i int) analyze.TargetNode { return s.Nodes[i] }
	var t table
	t.add(column{head: "dialled", min: 12, cells: cells(rows, func(i int) string { return node(i).Node })})
	t.add(column{head: "address", drop: 1, cells: cells(rows, func(i int) string { return node(i).Address })})
	t.add(column{head: "pods", right: true, cells: cells(rows, func(i int) string { return integer(node(i).Endpoints) })})
	t.add(column{head: "sent", right: true, drop: 3, cells: cells(rows, func(i int) string { return integer(node(i).Requests) })})
	t.add(column{head: "answered", right: true, cells: cells(rows, func(i int) string { return integer(node(i).Answered) })})
	t.add(column{head: "expected", drop: 2, cells: cells(rows, func(i int) string { return node(i).Expected })})
	t.add(column{head: "errors", min: 8, cells: cells(rows, func(i int) string { return errorKinds(node(i).Errors) })})
	p.blank()
	if err := p.table(&t); err != nil {
		return err
	}
	writeLeft(p, left)
	return nil
}

// maxAddresses is how many addresses of one class are listed one by one unless all are asked for.
const maxAddresses = 6

// writeSources writes which addresses the pods saw as the client.
func writeSources(p *page, s *analyze.Stream, wide bool) error {
	if len(s.Sources) == 0 {
		return nil
	}
	sources := s.Sources
	if !wide {
		sources = gather(sources)
	}
	rows, _ := pick(len(sources), true)
	source := func(i int) analyze.Source { return sources[i] }
	anyNode := slices.ContainsFunc(sources, func(s analyze.Source) bool { return s.Node != "" })
	anyHairpin := slices.ContainsFunc(sources, func(s analyze.Source) bool { return s.Hairpin > 0 })
	var t table
	t.add(column{head: "seen as", cells: cells(rows, func(i int) string { return source(i).Class })})
	t.add(column{head: "address", min: 15, cells: cells(rows, func(i int) string { return source(i).Address })})
	if anyNode {
		t.add(column{head: "of node", min: 8, drop: 2, cells: cells(rows, func(i int) string { return source(i).Node })})
	}
	t.add(column{head: "requests", right: true, cells: cells(rows, func(i int) string { return integer(source(i).Requests) })})
	if anyHairpin {
		t.add(column{head: "to itself", right: true, drop: 3, cells: cells(rows, func(i int) string { return integer(source(i).Hairpin) })})
	}
	t.add(column{head: "that is", min: 12, drop: 1, cells: cells(rows, func(i int) string { return classWords(source(i).Class) })})
	p.blank()
	return p.table(&t)
}

// gather puts the addresses of a class into one row where there are many.
func gather(sources []analyze.Source) []analyze.Source {
	size := map[string]int{}
	for _, s := range sources {
		size[s.Class]++
	}
	row := map[string]int{}
	var out []analyze.Source
	for _, s := range sources {
		if size[s.Class] <= maxAddresses {
			out = append(out, s)
			continue
		}
		at, there := row[s.Class]
		if !there {
			at, row[s.Class] = len(out), len(out)
			out = append(out, analyze.Source{Class: s.Class, Address: integer(size[s.Class]) + " addresses"})
		}
		out[at].Requests += s.Requests
		out[at].Hairpin += s.Hairpin
	}
	return out
}

// classWords explains a class of observed source.
func classWords(class string) string {
	switch class {
	case "client":
		return "the client itself"
	case "client-node":
		return "the client's node"
	case "receiving-node":
		return "the dialled node"
	case "pod-gateway":
		return "a node's pod gateway"
	case "proxy-pod":
		return "a pod in between"
	case "service-vip":
		return "the Service"
	case "docker-gateway":
		return "Docker's gateway"
	case "link-local":
		return "a link-local address"
	case "loopback":
		return "a sidecar in the pod"
	default:
		return "not known"
	}
}
