package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/podskew/podskew/record"
)

// maxDetail is how much of an error's text a row keeps, in bytes.
const maxDetail = 200

// Failures that the operating system has no words for.
var (
	errInterrupted = errors.New("the run was interrupted before the answer came")
	errNoAnswer    = errors.New("no answer within the timeout")
	errClosed      = errors.New("the peer closed the connection instead of answering")
	errCut         = errors.New("the peer closed the connection in the middle of its answer")
)

// classify tells failures apart as an operator does. What a peer, a dropped packet and a REJECT rule can cause has a
// class of its own. Everything else is ErrOther, with the error's text telling what it was: an ICMP that says the host
// or network is unreachable (EHOSTUNREACH, ENETUNREACH: no route, or no ARP answer of a dead pod on the same link), a
// run that was interrupted, and what is the client's own fault (see ownFault).
func classify(err error) record.ErrorKind {
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[parseError](err); ok {
		return record.ErrParse
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return record.ErrParse // not TLS, though it was asked to speak it
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return record.ErrDNS // also a resolver that times out: the target was never asked
	}
	if errors.Is(err, errStatus) {
		return record.ErrStatus
	}
	if timedOut(err) {
		return record.ErrTimeout
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return record.ErrRefused
	}
	for _, cut := range []error{errClosed, errCut, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, cut) {
			return record.ErrReset
		}
	}
	return record.ErrOther
}

func timedOut(err error) bool {
	if errors.Is(err, errNoAnswer) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout() // ETIMEDOUT too
}

// ownFault reports whether the client ran out of something: ports, file descriptors or memory for sockets. That says
// nothing about the Service.
func ownFault(err error) bool {
	for _, e := range []error{syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// detail is the text of an error, cut to what a row keeps.
func detail(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if len(text) <= maxDetail {
		return text
	}
	end := maxDetail
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
