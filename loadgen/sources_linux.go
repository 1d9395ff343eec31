package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setAddress adds an address for one host to an interface, or has it last for at least lasts from now (rtnetlink(7)). It
// is deprecated from the start: nothing leaves from it but what is bound to it. It needs CAP_NET_ADMIN.
func setAddress(link int, addr netip.Addr, lasts time.Duration) error {
	seconds := min(uint64(lasts/time.Second)+1, math.MaxUint32-1)
	cache := make([]byte, unix.SizeofIfaCacheinfo)
	binary.NativeEndian.PutUint32(cache[4:], uint32(seconds)) // the first word, how long it is preferred, is 0
	attrs := addressAttrs(addr)
	attrs = appendAttr(attrs, unix.IFA_CACHEINFO, cache)
	attrs = appendAttr(attrs, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, unix.IFA_F_NODAD))
	return askKernel(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link, addr, attrs)
}

// removeAddress takes an address away from an interface; it is no error if it is gone already.
func removeAddress(link int, addr netip.Addr) error {
	err := askKernel(unix.RTM_DELADDR, 0, link, addr, addressAttrs(addr))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func addressAttrs(addr netip.Addr) []byte {
	return appendAttr(appendAttr(nil, unix.IFA_LOCAL, addr.AsSlice()), unix.IFA_ADDRESS, addr.AsSlice())
}

// appendAttr appends a route attribute: its length and type, its data, and what fills it up to four bytes.
func appendAttr(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// askKernel sends one request about an address and waits for the kernel's word.
func askKernel(kind, flags uint16, link int, addr netip.Addr, attrs []byte) error {
	family, bits := byte(unix.AF_INET), byte(32)
	if addr.Is6() {
		family, bits = unix.AF_INET6, 128
	}
	size := unix.SizeofNlMsghdr + unix.SizeofIfAddrmsg + len(attrs)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(size))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(msg, 0, 0, 0, 0, 0, 0, 0, 0) // sequence and port: one request on a socket of its own
	msg = append(msg, family, bits, 0, unix.RT_SCOPE_UNIVERSE)
	msg = binary.NativeEndian.AppendUint32(msg, uint32(link))
	msg = append(msg, attrs...)

	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: an answer that is none")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}
