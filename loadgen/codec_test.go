package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reply is what a test wants to know of a parsed reply.
type reply struct {
	Status  int
	Close   bool
	Payload int64
	Pod     string
	Client  string
	Conn    string
	Rest    string // bytes behind the reply
	Err     string
}

// parse feeds in to a parser in pieces of size bytes, as a slot does, and then the end of the connection.
func parse(in []byte, size int) reply {
	var p parser
	p.reset()
	var buf []byte
	done := false
	var err error
	for len(in) > 0 && !done && err == nil {
		n := min(size, len(in))
		buf = append(buf, in[:n]...)
		in = in[n:]
		n, done, err = p.feed(buf)
		buf = buf[n:]
	}
	if !done && err == nil {
		err = p.eof(len(buf))
	}
	if err != nil {
		return reply{Err: err.Error()}
	}
	return reply{
		Status: p.status, Close: p.close, Payload: p.payload, Pod: string(p.pod), Client: string(p.client), Conn: string(p.serverConn),
		Rest: string(buf) + string(in),
	}
}

func TestParserReadsReplies(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tc := range map[string]struct {
		in   string
		want reply
	}{
		"an echo's": {
			ok + "X-Podskew-Pod: echo-1\r\nx-podskew-client: 10.0.0.1:4000\r\nX-PODSKEW-CONNECTION:  7 \r\nContent-Length: 3\r\n\r\nabc",
			reply{Status: 200, Payload: 3, Pod: "echo-1", Client: "10.0.0.1:4000", Conn: "7"},
		},
		"without a reason":               {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", reply{Status: 200}},
		"that closes":                    {ok + "Connection: x, Close\r\nContent-Length: 0\r\n\r\n", reply{Status: 200, Close: true}},
		"of HTTP/1.0":                    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", reply{Status: 200, Close: true, Payload: 1}},
		"of HTTP/1.0 that stays":         {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", reply{Status: 200, Payload: 1}},
		"until the end of connection":    {ok + "\r\nall of it", reply{Status: 200, Close: true, Payload: 9}},
		"in chunks":                      {ok + "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n", reply{Status: 200, Payload: 13}},
		"in chunks with a trailer":       {ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", reply{Status: 200, Payload: 1}},
		"without content":                {"HTTP/1.1 204 No Content\r\n\r\n", reply{Status: 204}},
		"that was not modified":          {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", reply{Status: 304}},
		"after interim ones":             {"HTTP/1.1 100 Continue\r\nX-Podskew-Pod: a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "X-Podskew-Pod: b\r\nContent-Length: 0\r\n\r\n", reply{Status: 200, Pod: "b"}},
		"with the same length twice":     {ok + "Content-Length: 1\r\nContent-Length: 01\r\n\r\na", reply{Status: 200, Payload: 1}},
		"with bytes behind it":           {ok + "Content-Length: 1\r\n\r\nabc", reply{Status: 200, Payload: 1, Rest: "bc"}},
		"with bytes behind its chunks":   {ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP", reply{Status: 200, Rest: "HTTP"}},
		"with an error":                  {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", reply{Status: 503, Payload: 2}},
		"with a long head":               {ok + "X: " + strings.Repeat("x", 60000) + "\r\nContent-Length: 0\r\n\r\n", reply{Status: 200}},
		"that never came":                {"", reply{Err: "EOF"}},
		"cut in its first line":          {"HTT", reply{Err: "unexpected EOF"}},
		"cut in its head":                {ok + "X: y\r\n", reply{Err: "unexpected EOF"}},
		"cut in its body":                {ok + "Content-Length: 3\r\n\r\nab", reply{Err: "unexpected EOF"}},
		"cut after a chunk":              {ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", reply{Err: "unexpected EOF"}},
		"that is not HTTP":               {"SSH-2.0-OpenSSH_9.9 and more\r\n", reply{Err: "the answer does not begin with an HTTP/1 status line"}},
		"of HTTP/2":                      {"HTTP/2.0 200 OK\r\n\r\n", reply{Err: "the answer does not begin with an HTTP/1 status line"}},
		"of HTTP/1.2":                    {"HTTP/1.2 200 OK\r\n\r\n", reply{Err: "the status line is malformed"}},
		"with a four-digit status":       {"HTTP/1.1 2000 OK\r\n\r\n", reply{Err: "the status line is malformed"}},
		"with a signed status":           {"HTTP/1.1 +20 OK\r\n\r\n", reply{Err: "the status code is not a number"}},
		"with a tiny status":             {"HTTP/1.1 099 OK\r\n\r\n", reply{Err: "the status code is below 100"}},
		"with bare line feeds":           {"HTTP/1.1 200 OK\n\n", reply{Err: "a line ends without a carriage return"}},
		"with a bare carriage return":    {ok + "X: a\rb\r\n\r\n", reply{Err: "a line holds control characters"}},
		"with a folded field":            {ok + "X: a\r\n b\r\n\r\n", reply{Err: "a header field has no name"}},
		"with a blank before the colon":  {ok + "Content-Length : 1\r\n\r\na", reply{Err: "the name of a header field has forbidden characters"}},
		"with two lengths":               {ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\na", reply{Err: "there are two content lengths"}},
		"with a list of lengths":         {ok + "Content-Length: 1, 1\r\n\r\na", reply{Err: "the content length is not a number"}},
		"with a negative length":         {ok + "Content-Length: -1\r\n\r\na", reply{Err: "the content length is not a number"}},
		"both chunked and not":           {ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", reply{Err: "the body is both chunked and not"}},
		"in an unknown encoding":         {ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", reply{Err: "the transfer encoding is not just chunked"}},
		"with a chunk too long":          {ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", reply{Err: "a chunk is longer than its size"}},
		"with a chunk of no size":        {ok + "Transfer-Encoding: chunked\r\n\r\n\r\n", reply{Err: "the size of a chunk is not a number"}},
		"with a chunk of unending size":  {ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 300), reply{Err: "the size of a chunk takes more than 256 bytes"}},
		"of two pods":                    {ok + "X-Podskew-Pod: a\r\nX-Podskew-Pod: a\r\n\r\n", reply{Err: "the answer says more than once where it comes from"}},
		"that switches protocols":        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", reply{Err: "the answer switches protocols, which nobody asked for"}},
		"with a body in an interim one":  {"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", reply{Err: "an interim answer has a body"}},
		"without content but with body":  {"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", reply{Err: "a 204 has a body"}},
		"with a head beyond the limit":   {ok + strings.Repeat("X: y\r\n", 11000), reply{Err: "the head is longer than 64 KiB"}},
		"with a line beyond the limit":   {ok + strings.Repeat("x", 66000), reply{Err: "the head is longer than 64 KiB"}},
		"interim ones without end":       {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 3000), reply{Err: "the head is longer than 64 KiB"}},
		"with a length beyond the limit": {ok + "Content-Length: 16777217\r\n\r\n", reply{Err: "the body is longer than 16 MiB"}},
		"with a chunk beyond the limit":  {ok + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", reply{Err: "the body is longer than 16 MiB"}},
	} {
		t.Run("a reply "+name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 4096, 1 << 20} {
				if size < 7 && len(tc.in) > 10_000 {
					continue // quadratic, and the same as for 7
				}
				if diff := cmp.Diff(tc.want, parse([]byte(tc.in), size)); diff != "" {
					t.Errorf("in pieces of %d bytes (-want +got):\n%s", size, diff)
				}
			}
		})
	}
}

func TestParserAllocatesNothingPerReply(t *testing.T) {
	in := []byte("HTTP/1.1 200 OK\r\nX-Podskew-Pod: echo-1\r\nX-Podskew-Client: 10.0.0.1:4000\r\nX-Podskew-Connection: 7\r\nContent-Length: 3\r\n\r\nabc")
	var p parser
	n := newNames()
	var from attribution
	allocations := testing.AllocsPerRun(100, func() {
		p.reset()
		if _, done, err := p.feed(in); !done || err != nil {
			t.Fatal(done, err)
		}
		if err := from.update(&p, n); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations per reply", allocations)
	}
}

// FuzzParser holds the parser against net/http: what it accepts, net/http accepts, too, and understands the same by it,
// to the byte; and how the bytes are cut makes no difference.
func FuzzParser(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nX-Podskew-Pod: a\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\nConnection: keep-alive, close\r\n\r\nrest",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		if size < 1 || len(in)/size > 2000 {
			size = len(in)/2000 + 1
		}
		got := parse(in, len(in)+1)
		if diff := cmp.Diff(got, parse(in, size)); diff != "" {
			t.Fatalf("cutting the bytes into %d each changes the reply (-whole +cut):\n%s", size, diff)
		}
		if got.Err != "" {
			return // we may be stricter
		}
		want, err := parseStd(in)
		if err != nil {
			if errors.Is(err, errStricter) {
				return
			}
			t.Fatalf("net/http refuses what we read as %+v: %v", got, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("we differ from net/http (-net/http +ours):\n%s", diff)
		}
	})
}

// errStricter is what net/http refuses and is no business of ours.
var errStricter = errors.New("net/http is stricter")

func parseStd(in []byte) (reply, error) {
	raw := bytes.NewReader(in)
	br := bufio.NewReaderSize(raw, 1<<20)
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return reply{}, errStricter
			}
			return reply{}, err
		}
		if resp.StatusCode < 200 {
			continue
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil {
			return reply{}, err
		}
		if err := resp.Body.Close(); err != nil {
			return reply{}, err
		}
		rest, err := io.ReadAll(br)
		if err != nil {
			return reply{}, err
		}
		return reply{
			Status: resp.StatusCode, Close: resp.Close, Payload: n, Pod: resp.Header.Get("X-Podskew-Pod"),
			Client: resp.Header.Get("X-Podskew-Client"), Conn: resp.Header.Get("X-Podskew-Connection"), Rest: string(rest),
		}, nil
	}
}

// FuzzParserAcceptsWhatServersWrite is the other half: being strict must not mean refusing what net/http writes.
func FuzzParserAcceptsWhatServersWrite(f *testing.F) {
	f.Add(200, "echo-1", []byte("abc"), 0)
	f.Add(503, "", []byte(nil), 1)
	f.Add(404, "x", []byte("until the end"), 2)
	f.Fuzz(func(t *testing.T, status int, value string, body []byte, framing int) {
		if status < 200 || status > 999 || status == 204 || status == 304 || len(body) > 1<<16 || len(value) > 1<<12 {
			t.Skip()
		}
		for _, c := range []byte(value) {
			if c < ' ' || c == 0x7f {
				t.Skip()
			}
		}
		resp := http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"X-Podskew-Pod": {value}}, Body: io.NopCloser(bytes.NewReader(body))}
		switch framing % 3 {
		case 0:
			resp.ContentLength = int64(len(body))
		case 1:
			resp.ContentLength, resp.TransferEncoding = -1, []string{"chunked"}
		default:
			resp.ContentLength, resp.Close = -1, true
		}
		var wire bytes.Buffer
		if err := resp.Write(&wire); err != nil {
			t.Skip(err)
		}
		want, err := parseStd(wire.Bytes())
		if err != nil {
			t.Skip(err)
		}
		if diff := cmp.Diff(want, parse(wire.Bytes(), 5)); diff != "" {
			t.Fatalf("%q (-net/http +ours):\n%s", fmt.Sprintf("%.200s", wire.Bytes()), diff)
		}
	})
}

func TestCharactersAreWhatTheStandardsSay(t *testing.T) {
	const tokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for i := range 256 {
		c := byte(i)
		if got, want := isToken(c), strings.IndexByte(tokens, c) >= 0; got != want {
			t.Errorf("%q in a name: %v, want %v", c, got, want)
		}
		for at := range 20 {
			line := []byte(strings.Repeat("x", 20))
			line[at] = c
			if got, want := isText(line), c == '\t' || c >= ' ' && c != 0x7f; got != want {
				t.Errorf("%q at %d of a line: %v, want %v", c, at, got, want)
			}
		}
	}
}
