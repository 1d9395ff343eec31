//go:build !linux

package echo

import (
	"net"
	"net/netip"
)

// udpSocket answers from the address that the system chooses.
type udpSocket struct{ conn *net.UDPConn }

func newUDPSocket(conn *net.UDPConn) *udpSocket { return &udpSocket{conn} }

func (u *udpSocket) read(b []byte) (int, netip.AddrPort, error) { return u.conn.ReadFromUDPAddrPort(b) }

func (u *udpSocket) write(b []byte, to netip.AddrPort) error {
	_, err := u.conn.WriteToUDPAddrPort(b, to)
	return err
}
