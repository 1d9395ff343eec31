package loadgen

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/podskew/podskew/echo"
)

// Limits of one reply. Everything the parser is fed is either consumed or bounded by them.
const (
	maxHead      = 64 << 10 // status line and header fields, interim replies and trailers together
	maxBody      = 16 << 20 // body, with the framing of its chunks
	maxChunkLine = 256
)

// parseError is a reply that is not HTTP, or not what was asked for.
type parseError string

func (e parseError) Error() string { return string(e) }

// parser reads one reply to a GET, incrementally: feed it what has arrived until it says done. It does no I/O and, once
// its three buffers have grown, allocates nothing. It is strict where two readers could disagree about where a reply
// ends, since bytes of one reply must never be credited to the next.
type parser struct {
	state   parseState
	status  int   // of the final reply, once its head is read
	close   bool  // the connection ends with this reply
	body    int64 // bytes of body so far, with the framing of its chunks
	payload int64 // bytes of body so far, without framing

	// Attribution; empty if the reply has no such header. The slices are the parser's and change with the next reply.
	pod, client, serverConn []byte
	by                      *sought  // where pod is looked for; nil: where echo pods put it
	more                    *details // what else is looked for; nil: nothing

	head    int
	left    int64 // of the body or the chunk
	length  int64 // Content-Length; -1: none
	chunked bool
	oneOh   bool // HTTP/1.0
	keep    bool // Connection: keep-alive
	hasPod, hasClient, hasConn,
	started bool // at least one byte was consumed
}

type parseState uint8

const (
	atStatus parseState = iota
	atHeader
	inBody // of known length
	complete
	untilClose
	atChunkSize
	inChunk
	afterChunk
	atTrailer
)

// reset makes the parser ready for the next reply.
func (p *parser) reset() {
	*p = parser{pod: p.pod[:0], client: p.client[:0], serverConn: p.serverConn[:0], by: p.by, more: p.more, length: -1}
	if p.more != nil {
		p.more.reset()
	}
	if p.by != nil {
		p.by.body = p.by.body[:0]
	}
}

// feed consumes bytes from the front of buf and reports how many, and whether the reply is complete. What it left must
// be at the front of the next call's buf, with more behind it. Bytes left when it is complete do not belong to the reply.
func (p *parser) feed(buf []byte) (n int, done bool, err error) {
	for p.state != complete {
		var used int
		switch p.state {
		case inBody, inChunk, untilClose:
			from := n
			used, err = p.skip(len(buf) - n)
			if p.by != nil && p.by.path != "" {
				p.by.capture(buf[from : from+used])
			}
		default:
			used, err = p.line(buf[n:])
		}
		n += used
		p.started = p.started || used > 0
		if err != nil || used == 0 {
			return n, false, err
		}
	}
	p.attribute()
	return n, true, nil
}

// attribute takes the name of the pod from the body of a reply that is complete, if that is where it stands.
func (p *parser) attribute() {
	if p.by != nil && p.by.path != "" {
		p.pod = p.by.find(p.pod[:0])
	}
}

// skip consumes up to avail bytes of a body.
func (p *parser) skip(avail int) (int, error) {
	if p.state == untilClose {
		p.payload += int64(avail)
		return avail, p.grow(avail)
	}
	take := min(p.left, int64(avail))
	p.left -= take
	p.payload += take
	if p.left == 0 {
		if p.state == inBody {
			p.state = complete
		} else {
			p.state = afterChunk
		}
	}
	return int(take), nil
}

// grow counts bytes of the body whose length was not known before.
func (p *parser) grow(n int) error {
	if p.body += int64(n); p.body > maxBody {
		return parseError("the body is longer than 16 MiB")
	}
	return nil
}

// line consumes one line, if buf holds a whole one.
func (p *parser) line(buf []byte) (int, error) {
	end := bytes.IndexByte(buf, '\n')
	size := end + 1
	if end < 0 {
		size = len(buf) // at least
	}
	inHead := p.state == atStatus || p.state == atHeader || p.state == atTrailer
	switch {
	case inHead && p.head+size > maxHead:
		return 0, parseError("the head is longer than 64 KiB")
	case !inHead && size > maxChunkLine:
		return 0, parseError("the size of a chunk takes more than 256 bytes")
	case end < 0:
		return 0, nil
	}
	line, ok := bytes.CutSuffix(buf[:end], []byte("\r"))
	if !ok {
		return 0, parseError("a line ends without a carriage return")
	}
	if !isText(line) {
		return 0, parseError("a line holds control characters")
	}
	if inHead {
		p.head += size
	} else if err := p.grow(size); err != nil {
		return 0, err
	}
	return size, p.read(line)
}

// read takes one line without its end.
func (p *parser) read(line []byte) error {
	switch p.state {
	case atStatus:
		return p.readStatus(line)
	case atHeader:
		if len(line) == 0 {
			return p.endHead()
		}
		return p.readHeader(line)
	case atChunkSize:
		return p.readChunkSize(line)
	case afterChunk:
		p.state = atChunkSize
		if len(line) != 0 {
			return parseError("a chunk is longer than its size")
		}
		return nil
	default: // atTrailer
		if len(line) == 0 {
			p.state = complete
			return nil
		}
		_, _, err := splitHeader(line)
		return err
	}
}

func (p *parser) readStatus(line []byte) error {
	const prefix = "HTTP/1."
	if len(line) < len("HTTP/1.1 200") || string(line[:len(prefix)]) != prefix {
		return parseError("the answer does not begin with an HTTP/1 status line")
	}
	version, code, rest := line[len(prefix)], line[len("HTTP/1.1 "):len("HTTP/1.1 200")], line[len("HTTP/1.1 200"):]
	if version != '0' && version != '1' || line[len("HTTP/1.1")] != ' ' || len(rest) > 0 && rest[0] != ' ' {
		return parseError("the status line is malformed")
	}
	p.oneOh = version == '0'
	p.status = 0
	for _, c := range code {
		if c < '0' || c > '9' {
			return parseError("the status code is not a number")
		}
		p.status = p.status*10 + int(c-'0')
	}
	if p.status < 100 {
		return parseError("the status code is below 100")
	}
	p.state = atHeader
	return nil
}

// splitHeader parts a header field and checks both halves.
func splitHeader(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, nil, parseError("a header field has no name")
	}
	name = line[:colon]
	for _, c := range name {
		if !isToken(c) {
			return nil, nil, parseError("the name of a header field has forbidden characters")
		}
	}
	return name, trim(line[colon+1:]), nil
}

func (p *parser) readHeader(line []byte) error {
	name, value, err := splitHeader(line)
	if err != nil {
		return err
	}
	if p.by != nil {
		if err := p.readSought(name, value); err != nil {
			return err
		}
	}
	if p.more != nil {
		p.more.read(name, value)
	}
	// The length comes first because it tells almost all names apart for nothing.
	switch len(name) {
	case len("Connection"):
		if is(name, "Connection") {
			p.readConnection(value)
		}
	case len(echo.HeaderPod):
		if p.by == nil && is(name, echo.HeaderPod) {
			return once(&p.hasPod, &p.pod, value)
		}
	case len("Content-Length"):
		if is(name, "Content-Length") {
			return p.readLength(value)
		}
	case len(echo.HeaderClient):
		if is(name, echo.HeaderClient) {
			return once(&p.hasClient, &p.client, value)
		}
	case len("Transfer-Encoding"):
		if is(name, "Transfer-Encoding") {
			return p.readEncoding(value)
		}
	case len(echo.HeaderConnection):
		if is(name, echo.HeaderConnection) {
			return once(&p.hasConn, &p.serverConn, value)
		}
	}
	return nil
}

func (p *parser) readEncoding(value []byte) error {
	if p.chunked || !is(value, "chunked") {
		return parseError("the transfer encoding is not just chunked")
	}
	p.chunked = true
	return nil
}

// readSought takes the pod from a header field that is not echo's.
func (p *parser) readSought(name, value []byte) error {
	if !is(name, p.by.header) {
		return nil
	}
	err := once(&p.hasPod, &p.pod, value)
	p.pod = nameLike(p.pod)
	return err
}

// is compares without regard to the case of ASCII letters.
func is(got []byte, want string) bool {
	if len(got) != len(want) {
		return false
	}
	for i, c := range got {
		if lower(c) != lower(want[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// once copies an attribution header. Two of them would credit the reply to whoever is looked at first.
func once(has *bool, dst *[]byte, value []byte) error {
	if *has {
		return parseError("the answer says more than once where it comes from")
	}
	*has = true
	*dst = append((*dst)[:0], value...)
	return nil
}

func (p *parser) readConnection(value []byte) {
	for len(value) > 0 {
		var token []byte
		token, value, _ = bytes.Cut(value, []byte(","))
		token = trim(token)
		p.close = p.close || is(token, "close")
		p.keep = p.keep || is(token, "keep-alive")
	}
}

func (p *parser) readLength(value []byte) error {
	if len(value) == 0 || len(value) > 18 {
		return parseError("the content length is not a number")
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return parseError("the content length is not a number")
		}
		n = n*10 + int64(c-'0')
	}
	if p.length >= 0 && p.length != n {
		return parseError("there are two content lengths")
	}
	p.length = n
	return nil
}

// endHead decides how the body is framed (RFC 9112 §6.3, for a GET).
func (p *parser) endHead() error {
	p.close = p.close || p.oneOh && !p.keep
	switch {
	case p.status == 101:
		return parseError("the answer switches protocols, which nobody asked for")
	case p.chunked && (p.length >= 0 || p.oneOh):
		return parseError("the body is both chunked and not")
	case p.status < 200:
		return p.endInterim()
	case p.status == 204 && (p.chunked || p.length > 0):
		return parseError("a 204 has a body")
	case p.status == 204 || p.status == 304 || p.length == 0:
		p.state = complete
	case p.chunked:
		p.state = atChunkSize
	case p.length > 0:
		p.left, p.state = p.length, inBody
		return p.grow(int(min(p.length, maxBody+1)))
	default:
		p.close, p.state = true, untilClose
	}
	return nil
}

// endInterim goes on with the reply proper. The length of the head is kept, so that interim replies are bounded.
func (p *parser) endInterim() error {
	if p.chunked || p.length >= 0 {
		return parseError("an interim answer has a body")
	}
	head := p.head
	p.reset()
	p.head, p.started = head, true
	return nil
}

func (p *parser) readChunkSize(line []byte) error {
	size, _, _ := bytes.Cut(line, []byte(";")) // extensions mean nothing to us
	size = bytes.TrimRight(size, " \t")
	if len(size) == 0 || len(size) > 15 {
		return parseError("the size of a chunk is not a number")
	}
	var n int64
	for _, c := range size {
		digit := hexDigit(c)
		if digit < 0 {
			return parseError("the size of a chunk is not a number")
		}
		n = n<<4 | int64(digit)
	}
	if n == 0 {
		p.state = atTrailer
		return nil
	}
	p.left, p.state = n, inChunk
	return p.grow(int(min(n, maxBody+1)))
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// eof says what the end of the connection means for the reply: nil if it completes it, io.EOF if no byte of it had
// come, io.ErrUnexpectedEOF if it was cut. buffered is how many bytes the last feed left.
func (p *parser) eof(buffered int) error {
	switch {
	case p.state == untilClose:
		p.state = complete
		p.attribute()
		return nil
	case !p.started && buffered == 0:
		return io.EOF
	default:
		return io.ErrUnexpectedEOF
	}
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// isText reports whether b has no control characters but tabs. Heads are mostly text, and this is most of the parser's
// work, so it looks at eight bytes at a time: a byte has its high bit set in less if it is below 0x20 (or follows one
// that is), and in del if it is 0x7f. Bytes above 0x7f are taken for text, as net/http does.
func isText(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		word := binary.LittleEndian.Uint64(b)
		less := (word - 0x20*ones) &^ word & high
		del := ((word ^ 0x7f*ones) - ones) &^ (word ^ 0x7f*ones) & high
		if less|del != 0 && !isTextSlow(b[:8]) {
			return false
		}
	}
	return isTextSlow(b)
}

func isTextSlow(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Bits of the characters that may stand in the name of a header field (RFC 9110 §5.6.2), below 64 and from there on.
const (
	tokenLow = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' |
		(1<<10-1)<<'0'
	tokenHigh = 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64) |
		(1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64)
)

func isToken(c byte) bool {
	mask := uint64(tokenLow)
	if c >= 64 {
		mask = tokenHigh
	}
	return c < 128 && mask>>(c&63)&1 != 0
}
