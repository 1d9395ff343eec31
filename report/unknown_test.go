package report

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/podskew/podskew/analyze"
	"github.com/podskew/podskew/record"
)

// imported is a report on somebody's log: 400 requests over three backends that nothing else is known of.
func imported(test analyze.Test) *analyze.Report {
	backend := func(name string, requests int) analyze.Backend {
		share := float64(requests) / 400
		return analyze.Backend{Pod: name, Requests: requests, Connections: requests, Share: share, ConnectionShare: share, ExpectedShare: 1. / 3, Eligible: true, P50: 0.01, P99: 0.02}
	}
	return &analyze.Report{
		APIVersion: record.Version, Kind: "Report", Cluster: analyze.ClusterInfo{Provider: "imported", ProxyMode: "unknown"},
		Run: analyze.Run{ID: "imported-1", Scenario: "nginx", Start: time.Unix(0, 0).UTC(), Seconds: 50, Tool: "imported", Alpha: 0.01},
		Streams: []analyze.Stream{{
			Client: "data", Vantage: "external", Target: "url", Requests: 400, Connections: 400, RequestsPerSecond: 8, Errors: map[record.ErrorKind]int{},
			Backends: []analyze.Backend{backend("10.0.0.1:80", 200), backend("10.0.0.2:80", 150), backend("10.0.0.3:80", 50)}, Test: test,
		}},
	}
}

func everyPage(t *testing.T, r *analyze.Report) map[string]string {
	t.Helper()
	return map[string]string{
		"text":     strings.Join(strings.Fields(strings.ReplaceAll(text(t, r, TextOptions{}), nbsp, " ")), " "),
		"markdown": strings.ReplaceAll(written(t, func(w io.Writer) error { return Markdown(w, r) }), nbsp, " "),
		"html":     strings.ReplaceAll(written(t, func(w io.Writer) error { return HTML(w, r) }), nbsp, " "),
	}
}

func TestWhatIsNotKnownIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		name       string
		report     *analyze.Report
		says, hush []string
	}{
		{
			"each request a choice",
			imported(analyze.Test{Unit: "request", Units: 400, Method: "exact", P: 0.2, AdjustedP: 0.2}),
			[]string{"400 requests at 8/s, each a choice of its own"},
			[]string{"1970", "kube-proxy", "on 400 connections", "400 connections", "imported ·"},
		},
		{
			"connections that are not told apart",
			imported(analyze.Test{Unit: "request", Units: 400, Method: "none", P: 1, AdjustedP: 1, Untested: "nobody knows how many choices there were"}),
			[]string{"400 requests at 8/s on connections that are not told apart", "Nothing was tested: nobody knows how many choices there were."},
			[]string{"1970", "kube-proxy", "400 connections", "within chance", "0–0", "0.00–0.00", "choice of its own"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for format, page := range everyPage(t, c.report) {
				for _, want := range c.says {
					if !strings.Contains(page, want) {
						t.Errorf("%s lacks %q:\n%s", format, want, page)
					}
				}
				for _, not := range c.hush {
					if strings.Contains(page, not) {
						t.Errorf("%s has %q:\n%s", format, not, page)
					}
				}
			}
		})
	}
}

// A single pod is compared with nothing: no table of skew, no range, one sentence.
func TestASinglePodIsNotCompared(t *testing.T) {
	r := keepalive()
	s := &r.Streams[0]
	s.Backends = s.Backends[:1]
	s.Backends[0].Share, s.Backends[0].ExpectedShare, s.Backends[0].ConnectionShare, s.Backends[0].ChanceShare = 1, 1, 1, analyze.Range{1, 1}
	s.Decomposition, r.Findings, r.Notes = &analyze.Decomposition{}, nil, nil
	for format, page := range everyPage(t, r) {
		if !strings.Contains(page, "There is one pod that this stream can reach, echo-7d9f6c8b5-x2k4z, and nothing to compare it with: it answered 20,711 requests.") {
			t.Errorf("%s does not say so:\n%s", format, page)
		}
		for _, not := range []string{"Gini", "by chance", "max/mean", "CV²", "100 %–100"} {
			if strings.Contains(page, not) {
				t.Errorf("%s has %q:\n%s", format, not, page)
			}
		}
	}
}

func TestHowLongConnectionsLastIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		with func(*analyze.Stream)
		says string
	}{
		"as long as the run":           {func(*analyze.Stream) {}, "on 8 connections, open as long as the run lasts;"},
		"until they are old":           {func(s *analyze.Stream) { s.ConnectionLifetime = 1.5 }, "on 8 connections, each replaced after 1.5 s or so;"},
		"until it is their turn to go": {func(s *analyze.Stream) { s.ConnectionsPerSecond = 60 }, "on 8 connections, the oldest replaced 60 times a second;"},
		"for one request":              {func(s *analyze.Stream) { s.RequestsPerConnection = 1 }, "on 8 connections, a fresh one for each;"},
		"for some requests":            {func(s *analyze.Stream) { s.RequestsPerConnection = 15 }, "on 8 connections, each for 15 requests;"},
	} {
		t.Run(name, func(t *testing.T) {
			r := keepalive()
			c.with(&r.Streams[0])
			for format, page := range everyPage(t, r) {
				if !strings.Contains(page, c.says) {
					t.Errorf("%s does not say %q", format, c.says)
				}
			}
		})
	}
}

// A pod that joined during the run had no share to expect when the load began, which is no rule that it broke.
func TestSharesOfPodsThatJoinedAreOfTheBeginning(t *testing.T) {
	r := keepalive()
	s := &r.Streams[0]
	for format, page := range everyPage(t, r) {
		if strings.Contains(page, "when the load began") {
			t.Errorf("%s speaks of the beginning where nothing changed", format)
		}
	}
	for i := range s.Backends {
		s.Backends[i].ChanceShare = analyze.Range{}
	}
	s.Backends[0].ExpectedShare = 0
	for format, page := range everyPage(t, r) {
		if format != "markdown" && !strings.Contains(page, "when the load began") { // which has no bars
			t.Errorf("%s does not say of when the expected shares are", format)
		}
	}
}
