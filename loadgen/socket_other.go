//go:build !linux

package loadgen

import (
	"syscall"
	"time"
)

func bindLate(_, _ string, _ syscall.RawConn) error { return nil }

func peek(syscall.RawConn) (int, error) { return 0, syscall.EAGAIN }

func nap(d time.Duration) { time.Sleep(d) }
