package echo

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// udpSocket answers from the address that was asked: the machine may have several, and a client that connected its
// socket takes answers from no other.
type udpSocket struct {
	conn *net.UDPConn
	oob  [128]byte // what came with the last datagram: the address it was sent to
	n    int
}

// newUDPSocket asks the kernel for the addresses that datagrams were sent to. Without them answers leave from whichever
// address the routing table says, which mostly is the same.
func newUDPSocket(conn *net.UDPConn) *udpSocket {
	u := &udpSocket{conn: conn}
	raw, err := conn.SyscallConn()
	if err != nil {
		return u
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	return u
}

func (u *udpSocket) read(b []byte) (int, netip.AddrPort, error) {
	n, oobn, _, from, err := u.conn.ReadMsgUDPAddrPort(b, u.oob[:])
	u.n = 0
	if err == nil {
		u.n = keepSource(u.oob[:oobn])
	}
	return n, from, err
}

// write answers the last datagram.
func (u *udpSocket) write(b []byte, to netip.AddrPort) error {
	_, _, err := u.conn.WriteMsgUDPAddrPort(b, u.oob[:u.n], to)
	return err
}

// keepSource makes the control message that came with a datagram the one that answers it: the same, without the
// interface, which routing decides on. It returns its length; 0 if there is none.
func keepSource(oob []byte) int {
	header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	switch {
	case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		binary.NativeEndian.PutUint32(data[0:4], 0)
	case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		binary.NativeEndian.PutUint32(data[16:20], 0)
	default:
		return 0
	}
	return len(oob) - len(rest)
}
