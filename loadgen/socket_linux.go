package loadgen

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bindLate has a socket that is bound to an address take its port when it connects: then a port is taken only for one
// pair of addresses, and not for everybody this address ever talks to (IP_BIND_ADDRESS_NO_PORT, ip(7)).
func bindLate(_, _ string, c syscall.RawConn) error {
	var sockErr error
	if err := c.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); err != nil {
		return err
	}
	return sockErr
}

// bindAgain lets a socket be bound to a port that has connections to elsewhere, or one that is all but over (SO_REUSEADDR,
// socket(7)): what has to be new is the pair of both ends, and connecting sees to that.
func bindAgain(_, _ string, c syscall.RawConn) error {
	var sockErr error
	if err := c.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}); err != nil {
		return err
	}
	return sockErr
}

// tryBind returns the reason if no connection can leave from an address and port.
func tryBind(from netip.AddrPort) error {
	raw := unix.Sockaddr(&unix.SockaddrInet6{Addr: from.Addr().As16(), Port: int(from.Port())})
	family := unix.AF_INET6
	if from.Addr().Is4() {
		raw, family = &unix.SockaddrInet4{Addr: from.Addr().As4(), Port: int(from.Port())}, unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, raw)
}

// peek looks whether a connection that should be silent has anything to read, without reading it or waiting: n bytes, or
// n 0 and no error at its end. unix.EAGAIN: it is silent.
func peek(c syscall.RawConn) (n int, err error) {
	var b [1]byte
	var sockErr error
	if err := c.Control(func(fd uintptr) {
		n, _, sockErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}); err != nil {
		return 0, err
	}
	return n, sockErr
}

// nap sleeps as exactly as the kernel does. It may end early.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil)
}
