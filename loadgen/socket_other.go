//go:build !linux

package loadgen

import (
	"net/netip"
	"syscall"
	"time"
)

func bindLate(_, _ string, _ syscall.RawConn) error { return nil }

func bindAgain(_, _ string, _ syscall.RawConn) error { return nil }

func tryBind(netip.AddrPort) error { return nil } // the dials will say

func peek(syscall.RawConn) (int, error) { return 0, syscall.EAGAIN }

func nap(d time.Duration) { time.Sleep(d) }
