package loadgen

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAStrangersAnswerNamesItsPod(t *testing.T) {
	body := `{"kind": "x", "meta": {"pod": "web-7", "n": 3}}`
	withLength := func(head, body string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	for name, tc := range map[string]struct {
		by    Attribution
		reply string
		want  string
	}{
		"in a header":                        {Attribution{Header: "X-Served-By"}, withLength("x-served-by: web-7\r\n", "ok"), "web-7"},
		"in a header that is no pod's name":  {Attribution{Header: "Server"}, withLength("Server: web 7 (a b)\r\n", "ok"), "web_7_(a_b)"},
		"in a header that is not there":      {Attribution{Header: "X-Served-By"}, withLength("", "ok"), ""},
		"in a header, not where echo has it": {Attribution{Header: "X-Served-By"}, withLength("X-Podskew-Pod: echo-1\r\n", "ok"), ""},
		"in a very long header":              {Attribution{Header: "X-Served-By"}, withLength("X-Served-By: "+strings.Repeat("a", 300)+"\r\n", ""), strings.Repeat("a", 253)},
		"in the body":                        {Attribution{JSON: "meta.pod"}, withLength("", body), "web-7"},
		"in the body, as a number":           {Attribution{JSON: "meta.n"}, withLength("", body), "3"},
		"in a body in chunks":                {Attribution{JSON: "meta.pod"}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n" + body[:10] + "\r\n" + fmt.Sprintf("%x", len(body)-10) + "\r\n" + body[10:] + "\r\n0\r\n\r\n", "web-7"},
		"in a body to the end":               {Attribution{JSON: "meta.pod"}, "HTTP/1.1 200 OK\r\n\r\n" + body, "web-7"},
		"in a body that has it not":          {Attribution{JSON: "meta.node"}, withLength("", body), ""},
		"in a body where it is an object":    {Attribution{JSON: "meta"}, withLength("", body), ""},
		"in a body that is not JSON":         {Attribution{JSON: "meta.pod"}, withLength("", "<html>"), ""},
		"in no body":                         {Attribution{JSON: "meta.pod"}, "HTTP/1.1 204 No Content\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for step := 1; step <= len(tc.reply); step += 1 + len(tc.reply)/7 {
				p := newParser(&tc.by)
				for range 2 { // the second answer is like the first
					p.reset()
					if got := feedIn(t, &p, tc.reply, step); got != tc.want {
						t.Fatalf("in steps of %d: %q, want %q", step, got, tc.want)
					}
				}
			}
		})
	}
}

// feedIn parses a reply that comes in pieces of step bytes, and returns the pod it names.
func feedIn(t *testing.T, p *parser, reply string, step int) string {
	t.Helper()
	held := ""
	for at := 0; at < len(reply); at += step {
		held += reply[at:min(at+step, len(reply))]
		n, done, err := p.feed([]byte(held))
		if err != nil {
			t.Fatal(err)
		}
		held = held[n:]
		if done {
			return string(p.pod)
		}
	}
	if err := p.eof(len(held)); err != nil {
		t.Fatal(err)
	}
	return string(p.pod)
}

func TestAnAnswerThatNamesTwoPodsIsRefused(t *testing.T) {
	p := newParser(&Attribution{Header: "A"})
	p.reset()
	if _, _, err := p.feed([]byte("HTTP/1.1 200 OK\r\nA: x\r\na: y\r\n\r\n")); err == nil {
		t.Error("it was taken")
	}
}

func TestRepliesDoNotInheritTheNameOfTheOneBefore(t *testing.T) {
	p := newParser(&Attribution{JSON: "p"})
	var got []string
	for _, body := range []string{`{"p":"a"}`, `{"p":"b"}`, `{}`, `{"p":"b"}`, `{"p":"a"}`} {
		p.reset()
		got = append(got, feedIn(t, &p, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 1000))
	}
	if diff := cmp.Diff([]string{"a", "b", "", "b", "a"}, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzSought feeds answers of anybody to a parser that looks for a pod in them: what it finds may stand in a record.
func FuzzSought(f *testing.F) {
	f.Add("X-Served-By", "", "HTTP/1.1 200 OK\r\nX-Served-By: web 1\r\nContent-Length: 0\r\n\r\n")
	f.Add("", "a.b", "HTTP/1.1 200 OK\r\n\r\n{\"a\": {\"b\": \"\u00e4\\u0000\"}}")
	f.Fuzz(func(t *testing.T, header, path, reply string) {
		by := Attribution{Header: header, JSON: path}
		if planOf(func(p *Plan) { p.Attribution = &by }).Validate() != nil {
			return
		}
		p := newParser(&by)
		p.reset()
		n, done, err := p.feed([]byte(reply))
		if err == nil && !done {
			err = p.eof(len(reply) - n)
		}
		if err == nil && len(p.pod) > 0 && checkName(string(p.pod)) != nil {
			t.Errorf("it found %q", p.pod)
		}
	})
}
