package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/podskew/podskew/record"
)

func TestErrorsHaveTheClassAnOperatorExpects(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	for name, tc := range map[string]struct {
		err  error
		want record.ErrorKind
	}{
		"no error":                 {nil, ""},
		"a refusal":                {dial(syscall.ECONNREFUSED), record.ErrRefused},
		"the kernel's timeout":     {dial(syscall.ETIMEDOUT), record.ErrTimeout},
		"our deadline":             {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, record.ErrTimeout},
		"the context's deadline":   {fmt.Errorf("dialling: %w", context.DeadlineExceeded), record.ErrTimeout},
		"a reset":                  {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, record.ErrReset},
		"a broken pipe":            {&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, record.ErrReset},
		"a name without address":   {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, record.ErrDNS},
		"a resolver that is quiet": {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "timeout", IsTimeout: true}}, record.ErrDNS},
		"no route to the host":     {dial(syscall.EHOSTUNREACH), record.ErrOther},
		"no route to the network":  {dial(syscall.ENETUNREACH), record.ErrOther},
		"no port left":             {dial(syscall.EADDRNOTAVAIL), record.ErrOther},
		"an interrupt":             {errInterrupted, record.ErrOther},
		"anything else":            {errors.New("x"), record.ErrOther},
		"not HTTP":                 {fmt.Errorf("x: %w", parseError("not HTTP")), record.ErrParse},
	} {
		t.Run(name, func(t *testing.T) {
			if got := classify(tc.err); got != tc.want {
				t.Errorf("%v is %q, want %q", tc.err, got, tc.want)
			}
		})
	}
}

func TestDetailsAreCutBetweenCharacters(t *testing.T) {
	got := detail(errors.New(strings.Repeat("x", 199) + "é"))
	if len(got) != 199 || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
