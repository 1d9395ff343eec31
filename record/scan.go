package record

import (
	"math"
	"strconv"
)

// scanner reads the few shapes of JSON that make up nearly all of a record: flat objects with plain strings and numbers, and
// arrays of integers. Whatever is unusual, it gives up on (ok false), and the line is left to encoding/json: what the
// scanner reads, encoding/json reads the same.
type scanner struct {
	b     []byte
	i     int
	names map[string]string // strings that come again and again, each kept once
}

// mostNames bounds the strings that are kept.
const mostNames = 1 << 16

func (s *scanner) byte(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// end reports whether nothing follows but the end of the line.
func (s *scanner) end() bool { return s.i == len(s.b)-1 && s.b[s.i] == '\n' }

// text returns the bytes of a string of printable ASCII without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.byte('"') {
		return nil, false
	}
	from := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[from : s.i-1], true
		case c == '\\' || c < 0x20 || c >= 0x7f:
			return nil, false
		}
		s.i++
	}
	return nil, false
}

// name returns a string that other rows are likely to hold as well.
func (s *scanner) name() (string, bool) {
	b, ok := s.text()
	if !ok {
		return "", false
	}
	if have, seen := s.names[string(b)]; seen {
		return have, true
	}
	text := string(b)
	if len(s.names) < mostNames {
		s.names[text] = text
	}
	return text, true
}

func (s *scanner) string() (string, bool) {
	b, ok := s.text()
	return string(b), ok
}

// digits reads a run of digits without leading zeros, at most 18 of them.
func (s *scanner) digits() (v int64, ok bool) {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		v = 10*v + int64(s.b[s.i]-'0')
		s.i++
	}
	n := s.i - from
	return v, n > 0 && n <= 18 && (n == 1 || s.b[from] != '0')
}

// integer reads a whole number.
func (s *scanner) integer() (int64, bool) {
	negative := s.byte('-')
	v, ok := s.digits()
	if !ok || s.i == len(s.b) || s.b[s.i] == '.' || s.b[s.i] == 'e' || s.b[s.i] == 'E' {
		return 0, false
	}
	if negative {
		return -v, true
	}
	return v, true
}

func (s *scanner) int() (int, bool) {
	v, ok := s.integer()
	return int(v), ok
}

// float reads a number. Up to 15 digits it is computed exactly from its digits and a power of ten (Clinger 1990); else it is
// left to strconv.
func (s *scanner) float() (float64, bool) {
	from := s.i
	negative := s.byte('-')
	whole, ok := s.digits()
	if !ok {
		return 0, false
	}
	mantissa, places := whole, 0
	if s.byte('.') {
		start := s.i
		for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
			if s.i-start < 15 {
				mantissa = 10*mantissa + int64(s.b[s.i]-'0')
			}
			s.i++
		}
		if places = s.i - start; places == 0 {
			return 0, false
		}
	}
	scaled := s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E')
	if scaled && !s.exponent() {
		return 0, false
	}
	if scaled || s.i-from > 16 {
		v, err := strconv.ParseFloat(string(s.b[from:s.i]), 64)
		return v, err == nil
	}
	v := float64(mantissa) / power(places)
	if negative {
		v = math.Copysign(v, -1)
	}
	return v, true
}

func (s *scanner) exponent() bool {
	s.i++
	if !s.byte('-') {
		s.byte('+')
	}
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// power returns 10^n for 0 ≤ n ≤ 15, exactly.
func power(n int) float64 {
	return [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}[n]
}

// integers reads an array of at most maxColumn whole numbers into to, whose room is used again.
func (s *scanner) integers(to []int64) ([]int64, bool) {
	if !s.byte('[') {
		return nil, false
	}
	to = to[:0]
	if s.byte(']') {
		return to, true
	}
	for {
		v, ok := s.integer()
		if !ok || len(to) == maxColumn {
			return nil, false
		}
		to = append(to, v)
		if s.byte(']') {
			return to, true
		}
		if !s.byte(',') {
			return nil, false
		}
	}
}

// object reads a flat object: field is called with each key and reads the value.
func (s *scanner) object(field func(key []byte) bool) bool {
	if !s.byte('{') {
		return false
	}
	if s.byte('}') {
		return true
	}
	for {
		key, ok := s.text()
		if !ok || !s.byte(':') || !field(key) {
			return false
		}
		if s.byte('}') {
			return true
		}
		if !s.byte(',') {
			return false
		}
	}
}

// array reads an array, element by element.
func (s *scanner) array(element func() bool) bool {
	if !s.byte('[') {
		return false
	}
	if s.byte(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if s.byte(']') {
			return true
		}
		if !s.byte(',') {
			return false
		}
	}
}
