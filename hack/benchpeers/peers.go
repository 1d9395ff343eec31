package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// peer is a load generator: how to call it, and how to read how many requests it made.
type peer struct {
	name     string
	args     func(l load) []string // the program first
	requests *regexp.Regexp        // its groups are added up
}

// load is what every peer is asked for.
type load struct {
	url         string
	connections int
	seconds     int
	fresh       bool // a connection for every request
	scripts     scripts
	keep        string // a folder for podskew's record, which says what the load alone cost
}

// self is the name of the program under test.
const self = "podskew"

// choose leaves those whose names are in a comma-separated list, all if it is empty.
func choose(from []peer, list string) []peer {
	if list == "" {
		return from
	}
	names := strings.Split(list, ",")
	return slices.DeleteFunc(from, func(p peer) bool { return !slices.Contains(names, p.name) })
}

func (l load) either(keep, fresh []string) []string {
	if l.fresh {
		return fresh
	}
	return keep
}

// scripts are k6's, as paths: a bare request, and one whose answer is counted by the pod that gave it.
type scripts struct{ plain, counting string }

const (
	k6Plain = `import http from 'k6/http';
export default function () { http.get('%[1]s/'); }
`
	// A tag of a custom metric is k6's own way to count by a header of the answer.
	k6Counting = `import http from 'k6/http';
import { Counter } from 'k6/metrics';
const answers = new Counter('answers');
export default function () {
  const answer = http.get('%[1]s/');
  answers.add(1, { pod: answer.headers['X-Pod'] });
}
`
)

// writeScripts writes k6's scripts for a URL into a folder.
func writeScripts(dir, url string) (scripts, error) {
	s := scripts{plain: filepath.Join(dir, "k6.js"), counting: filepath.Join(dir, "k6-counting.js")}
	return s, errors.Join(
		os.WriteFile(s.plain, fmt.Appendf(nil, k6Plain, url), 0o600),
		os.WriteFile(s.counting, fmt.Appendf(nil, k6Counting, url), 0o600))
}

var k6Requests = regexp.MustCompile(`http_reqs[^:]*: (\d+)`)

func k6(l load, script string) []string {
	args := []string{"k6", "run", "--quiet", "--vus", strconv.Itoa(l.connections), "--duration", strconv.Itoa(l.seconds) + "s"}
	return append(args, append(l.either(nil, []string{"--no-connection-reuse"}), script)...)
}

// peers are those that this program knows. podskew's row comes first.
func peers(podskew string) []peer {
	c := func(l load) string { return strconv.Itoa(l.connections) }
	d := func(l load) string { return strconv.Itoa(l.seconds) + "s" }
	return []peer{
		{name: self, requests: regexp.MustCompile(`(?m)^      "requests": (\d+)`), args: func(l load) []string {
			return append([]string{podskew, "load", l.url, "-c", c(l), "-d", d(l), "-o", "json", "--keep", l.keep, "--backend-header", "X-Pod"}, l.either(nil, []string{"--requests-per-connection", "1"})...)
		}},
		{name: "wrk", requests: regexp.MustCompile(`(\d+) requests in`), args: func(l load) []string {
			return append([]string{"wrk", "-t1", "-c" + c(l), "-d" + d(l), l.url}, l.either(nil, []string{"-H", "Connection: close"})...)
		}},
		{name: "h2load", requests: regexp.MustCompile(`(\d+) succeeded`), args: func(l load) []string {
			if l.fresh {
				return nil // it cannot
			}
			return []string{"h2load", "--h1", "-t1", "-c" + c(l), "-D", strconv.Itoa(l.seconds), l.url}
		}},
		{name: "ab", requests: regexp.MustCompile(`Complete requests:\s+(\d+)`), args: func(l load) []string {
			return append([]string{"ab", "-q", "-c", c(l), "-t", strconv.Itoa(l.seconds), "-n", "100000000"}, append(l.either([]string{"-k"}, nil), l.url+"/")...)
		}},
		{name: "fortio", requests: regexp.MustCompile(`Code 200 : (\d+)`), args: func(l load) []string {
			return append([]string{"fortio", "load", "-quiet", "-qps", "0", "-c", c(l), "-t", d(l)}, append(l.either(nil, []string{"-keepalive=false"}), l.url)...)
		}},
		{name: "hey", requests: regexp.MustCompile(`\[200\]\s+(\d+) responses`), args: func(l load) []string {
			return append([]string{"hey", "-c", c(l), "-z", d(l)}, append(l.either(nil, []string{"-disable-keepalive"}), l.url)...)
		}},
		{name: "k6", requests: k6Requests, args: func(l load) []string { return k6(l, l.scripts.plain) }},
		// What podskew does all the time: who answered is counted.
		{name: "k6-counting", requests: k6Requests, args: func(l load) []string { return k6(l, l.scripts.counting) }},
	}
}

// count reads how many requests a peer says it made.
func (p peer) count(output []byte) (int, error) {
	n := 0
	for _, groups := range p.requests.FindAllSubmatch(output, -1) {
		one, err := strconv.Atoi(string(groups[1]))
		if err != nil {
			return 0, err
		}
		n += one
	}
	if n == 0 {
		return 0, fmt.Errorf("%s does not say how many requests it made:\n%s", p.name, output)
	}
	return n, nil
}
