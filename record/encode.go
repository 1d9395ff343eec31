package record

import (
	"encoding/json"
	"math"
	"strconv"
)

// appendConnections appends a line of connections as encoding/json would write it without escaping HTML, and reports
// whether it could: not what is unusual, strings with anything but plain ASCII above all. It takes a quarter of the time,
// and rows are nearly all that a long record is made of.
func appendConnections(b []byte, rows []Connection) ([]byte, bool) {
	b = append(b, connectionsHead...)
	ok := len(rows) > 0
	for i := range rows {
		if i == 0 {
			b = append(b, '[')
		} else {
			b = append(b, ',')
		}
		if b, ok = rows[i].appendTo(b); !ok { // #nosec G602 -- i is below len(rows)
			return b, false
		}
	}
	return append(b, "]}\n"...), ok
}

// appendTo appends one row.
func (c *Connection) appendTo(b []byte) ([]byte, bool) {
	if !c.plain() {
		return b, false
	}
	b = appendText(b, `{"stream":"`, c.Stream)
	b = appendText(b, `,"agent":"`, c.Agent)
	b = strconv.AppendInt(append(b, `,"id":`...), int64(c.ID), 10)
	b = strconv.AppendInt(append(b, `,"slot":`...), int64(c.Slot), 10)
	b = appendText(b, `,"address":"`, c.Address)
	b = appendSomeText(b, `,"dialled":"`, c.Dialled)
	b = appendSomeText(b, `,"local":"`, c.Local)
	b = appendFloat(append(b, `,"opened":`...), c.Opened)
	if c.Connected != 0 {
		b = appendFloat(append(b, `,"connected":`...), c.Connected)
	}
	if c.Closed != 0 {
		b = appendFloat(append(b, `,"closed":`...), c.Closed)
	}
	b = strconv.AppendInt(append(b, `,"requests":`...), int64(c.Requests), 10)
	if c.WarmUp != 0 {
		b = strconv.AppendInt(append(b, `,"warmUp":`...), int64(c.WarmUp), 10)
	}
	b = appendSomeText(b, `,"backend":"`, c.Backend)
	b = appendSomeText(b, `,"observed":"`, c.Observed)
	b = appendSomeText(b, `,"forwarded":"`, c.Forwarded)
	b = appendSomeText(b, `,"proxied":"`, c.Proxied)
	b = appendSomeText(b, `,"key":"`, c.Key)
	if c.ServerConn != 0 {
		b = strconv.AppendUint(append(b, `,"serverConn":`...), c.ServerConn, 10)
	}
	if len(c.Others) > 0 {
		others, err := json.Marshal(c.Others) // its keys are plain
		if err != nil {
			return b, false
		}
		b = append(append(b, `,"others":`...), others...)
	}
	b = appendSomeText(b, `,"error":"`, string(c.Error))
	b = appendSomeText(b, `,"errorDetail":"`, c.ErrorDetail)
	return append(b, '}'), true
}

// plain reports whether a row can be written without encoding/json, and is the same after it has been read again.
func (c *Connection) plain() bool {
	for pod := range c.Others {
		if !asItIs(pod) || !unescaped(pod) {
			return false
		}
	}
	return asItIs(c.Stream) && asItIs(c.Agent) && asItIs(c.Address) && asItIs(c.Dialled) && asItIs(c.Local) &&
		asItIs(c.Backend) && asItIs(c.Observed) && asItIs(c.Forwarded) && asItIs(c.Proxied) && asItIs(c.Key) &&
		asItIs(string(c.Error)) && asItIs(c.ErrorDetail) &&
		finite(c.Opened) && finite(c.Connected) && finite(c.Closed) && (c.Others == nil || len(c.Others) > 0)
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// asItIs reports whether a string stands in JSON as it is.
func asItIs(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// unescaped reports whether json.Marshal, too, leaves a plain string as it is.
func unescaped(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

func appendText(b []byte, head, s string) []byte {
	return append(append(append(b, head...), s...), '"')
}

func appendSomeText(b []byte, head, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(b, head, s)
}

// appendFloat writes a number as encoding/json does: as ES6 would, with an exponent only if it is very small or large.
func appendFloat(b []byte, f float64) []byte {
	if out, ok := appendNanos(b, f); ok {
		return out
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if n := len(b); format == 'e' && n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1] // e-09 is e-9
		b = b[:n-1]
	}
	return b
}

// appendNanos writes a number of seconds that is one of whole nanoseconds, as times of records are, ten times as fast. Of
// decimals of up to 15 digits no two have the same nearest float64, so that the one which f is nearest to is its shortest.
func appendNanos(b []byte, f float64) ([]byte, bool) {
	const second, exact = 1_000_000_000, 1_000_000_000_000_000
	scaled := math.Abs(f) * second
	if !(scaled < exact && scaled >= 1000) { // below a microsecond it has an exponent
		return b, false
	}
	n := uint64(scaled + 0.5)
	if float64(n)/second != math.Abs(f) || n >= exact {
		return b, false
	}
	if f < 0 {
		b = append(b, '-')
	}
	b = strconv.AppendUint(b, n/second, 10)
	rest := n % second
	if rest == 0 {
		return b, true
	}
	digits := [10]byte{'.'}
	for i := 9; i > 0; i-- {
		digits[i] = byte('0' + rest%10)
		rest /= 10
	}
	end := 10
	for digits[end-1] == '0' {
		end--
	}
	return append(b, digits[:end]...), true
}
