//go:build !linux

package loadgen

import (
	"errors"
	"net/netip"
	"time"
)

func setAddress(int, netip.Addr, time.Duration) error {
	return errors.New("addresses can be added on Linux only")
}

func removeAddress(int, netip.Addr) error { return nil }
