package analyze_test

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/internal/simulate"
	"github.com/podskew/podskew/record"
)

func marshal(t *testing.T, r *analyze.Report) string {
	t.Helper()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func scenesOfAllKinds() map[string]simulate.Scene {
	scenes := map[string]simulate.Scene{
		"keep-alive": keepalive(), "fresh": fresh(), "affinity": affine(), "external Cluster": outside(false), "external Local": outside(true),
	}
	several := balancedScenes()["three streams and their sum"]
	several.Seed = 11
	scenes["several streams"] = several
	return scenes
}

// recordsOfAllKinds returns what makes the record of each scene, and of some that no scene makes.
func recordsOfAllKinds() map[string]func() *record.Record {
	all := map[string]func() *record.Record{}
	for name, scene := range scenesOfAllKinds() {
		all[name] = scene.Record
	}
	all["tallies only"] = func() *record.Record {
		rec := fresh().Record()
		rec.Connections = nil
		rec.Generators = []record.Generator{{Stream: "web", Agent: "web-0", DroppedRows: 1500, Busy: 0.95}, {Stream: "web", Agent: "web-1", DroppedRows: 1500, OutOfPorts: 1}}
		return rec
	}
	all["no facts"] = func() *record.Record {
		rec := fresh().Record()
		rec.Facts.Services, rec.Facts.Endpoints, rec.FactsAfter = nil, nil, nil
		rec.Streams[0].Target, rec.Streams[0].Service, rec.Streams[0].Backends = "url", "", 8
		return rec
	}
	all["samples"] = func() *record.Record { return full(keepalive().Record()) }
	return all
}

func TestTheSameRecordGivesTheSameBytes(t *testing.T) {
	for name, made := range recordsOfAllKinds() {
		if diff := cmp.Diff(marshal(t, report(t, made())), marshal(t, report(t, made()))); diff != "" {
			t.Errorf("%s: (-first +second):\n%s", name, diff)
		}
	}
}

// Rows, tallies, facts and agents come in any order, and tallies in any number of pieces.
func TestTheOrderOfTheRecordDoesNotMatter(t *testing.T) {
	for name, made := range recordsOfAllKinds() {
		rec := made()
		want := marshal(t, report(t, rec))
		rng := rand.New(rand.NewPCG(1, 2))
		rng.Shuffle(len(rec.Connections), func(i, j int) { rec.Connections[i], rec.Connections[j] = rec.Connections[j], rec.Connections[i] })
		rec.Tallies = split(rec.Tallies)
		rng.Shuffle(len(rec.Tallies), func(i, j int) { rec.Tallies[i], rec.Tallies[j] = rec.Tallies[j], rec.Tallies[i] })
		slices.Reverse(rec.Facts.Endpoints)
		slices.Reverse(rec.Facts.Pods)
		slices.Reverse(rec.Streams[0].Agents)
		slices.Reverse(rec.Servers)
		slices.Reverse(rec.Generators)
		rng.Shuffle(len(rec.Samples), func(i, j int) { rec.Samples[i], rec.Samples[j] = rec.Samples[j], rec.Samples[i] })
		if diff := cmp.Diff(want, marshal(t, report(t, rec))); diff != "" {
			t.Errorf("%s: (-in order +shuffled):\n%s", name, diff)
		}
	}
}

// split cuts every tally of several answered requests in two. Latencies go with the first half.
func split(tallies []record.Tally) []record.Tally {
	var out []record.Tally
	for _, tally := range tallies {
		if tally.Requests > 1 && tally.Errors == nil {
			rest := tally
			rest.Requests, rest.Connections, rest.Latency = 1, 0, record.Histogram{}
			tally.Requests--
			out = append(out, rest)
		}
		out = append(out, tally)
	}
	return out
}

var podNames = regexp.MustCompile(`echo-[a-z]\d|pod-\d\d`)

// What the pods are called changes no digit: the reports differ in names only, and in the order of what is equal otherwise.
func TestNamesOfPodsDoNotMatter(t *testing.T) {
	for name, made := range recordsOfAllKinds() {
		rec := made()
		want := anonymous(marshal(t, report(t, rec)))
		names := map[string]string{}
		i := 0
		for _, p := range rec.Facts.Pods {
			if p.Role != "echo" {
				continue
			}
			names[p.Name] = "pod-" + string(rune('0'+(7*i+3)%10)) + string(rune('0'+i%10))
			i++
		}
		rename(rec, names)
		if diff := cmp.Diff(want, anonymous(marshal(t, report(t, rec)))); diff != "" {
			t.Errorf("%s: (-before +renamed):\n%s", name, diff)
		}
	}
}

// anonymous takes pod names out of a report, and sorts its lines: equal backends may have changed places.
func anonymous(text string) string {
	lines := strings.Split(podNames.ReplaceAllString(text, "POD"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], ",")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func rename(rec *record.Record, names map[string]string) {
	for _, facts := range []*record.Facts{&rec.Facts, rec.FactsAfter} {
		if facts == nil {
			continue
		}
		for i := range facts.Endpoints {
			facts.Endpoints[i].Pod = names[facts.Endpoints[i].Pod]
		}
		for i := range facts.Pods {
			if to, ok := names[facts.Pods[i].Name]; ok {
				facts.Pods[i].Name = to
			}
		}
	}
	for i := range rec.Connections {
		rec.Connections[i].Backend = names[rec.Connections[i].Backend]
	}
	for i := range rec.Tallies {
		rec.Tallies[i].Backend = names[rec.Tallies[i].Backend]
	}
	for i := range rec.Servers {
		rec.Servers[i].Pod = names[rec.Servers[i].Pod]
	}
}

func TestAnalyzeLeavesTheRecordAlone(t *testing.T) {
	rec, same := outside(true).Record(), outside(true).Record()
	report(t, rec)
	if diff := cmp.Diff(same, rec); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}
