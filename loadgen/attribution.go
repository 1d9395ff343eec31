package loadgen

import "slices"

// maxCaptured is how much of a body is looked at for the name of the pod, in bytes.
const maxCaptured = 64 << 10

// sought is where a parser looks for the name of the pod that gave a reply, if not where echo pods put it.
type sought struct {
	header string // name of the header field; "": none
	path   string // in a JSON body; "": none

	body, last []byte // this reply's body and that of the reply before, so far as they are looked at
	found      []byte // in last
}

// newParser returns a parser that looks for the pod where a plan says.
func newParser(a *Attribution) parser {
	if a == nil {
		return parser{}
	}
	return parser{by: &sought{header: a.Header, path: a.JSON}}
}

// capture keeps a part of a body.
func (s *sought) capture(part []byte) {
	s.body = append(s.body, part[:min(len(part), maxCaptured-len(s.body))]...)
}

// find appends the name that the body has to dst. A body that is the last one's again is not read again.
func (s *sought) find(dst []byte) []byte {
	if !slices.Equal(s.body, s.last) {
		s.last = append(s.last[:0], s.body...)
		s.found = nameLike(append(s.found[:0], jsonMember(s.body, s.path)...))
	}
	return append(dst, s.found...)
}

// nameLike makes of what somebody else's server says of itself something that can stand for a pod's name: as long as one at
// most, and without blanks. It changes b.
func nameLike(b []byte) []byte {
	b = b[:min(len(b), maxName)]
	for i, c := range b {
		if c <= ' ' || c >= 0x7f {
			b[i] = '_'
		}
	}
	return b
}
