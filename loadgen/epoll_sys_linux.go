//go:build amd64 || arm64

package loadgen

import (
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls of the event loop. Those that cannot block are raw: telling Go's scheduler about them costs more than the
// kernel does.

// rawAddr is a socket address as the kernel has it. The zero value is none.
type rawAddr struct {
	buf  [unix.SizeofSockaddrInet6]byte
	size uintptr
}

func newRawAddr(a netip.AddrPort) rawAddr {
	var raw rawAddr
	if ip := a.Addr().Unmap(); ip.Is4() {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&raw.buf))
		sa.Family, sa.Addr, sa.Port = unix.AF_INET, ip.As4(), networkOrder(a.Port())
		raw.size = unix.SizeofSockaddrInet4
		return raw
	}
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&raw.buf))
	sa.Family, sa.Addr, sa.Port = unix.AF_INET6, a.Addr().As16(), networkOrder(a.Port())
	raw.size = unix.SizeofSockaddrInet6
	return raw
}

// family is AF_INET or AF_INET6.
func (a *rawAddr) family() uintptr {
	return uintptr((*unix.RawSockaddr)(unsafe.Pointer(&a.buf)).Family)
}

// addrPort is the address as Go has it; not valid if there is none.
func (a *rawAddr) addrPort() netip.AddrPort {
	switch a.family() {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.buf))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), networkOrder(sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.buf))
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), networkOrder(sa.Port))
	}
	return netip.AddrPort{}
}

// networkOrder swaps the bytes of a port. Both architectures are little-endian.
func networkOrder(port uint16) uint16 { return port<<8 | port>>8 }

func openSocket(family uintptr) (fd int32, err unix.Errno) {
	r, _, err := unix.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return int32(r), err
}

// bindSource makes a socket leave from an address, with whichever port connect finds then: a port that is chosen at bind
// must be free for every destination, not only for this one.
func bindSource(fd int32, a *rawAddr) unix.Errno {
	one := int32(1)
	_, _, err := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT,
		uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one), 0)
	if err != 0 && err != unix.ENOPROTOOPT {
		return err
	}
	_, _, err = unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.buf)), a.size)
	return err
}

// bindPort makes a socket leave from an address and port, which may have connections to elsewhere (see bindAgain).
func bindPort(fd int32, a *rawAddr) unix.Errno {
	one := int32(1)
	_, _, err := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR,
		uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one), 0)
	if err != 0 {
		return err
	}
	_, _, err = unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.buf)), a.size)
	return err
}

func connectTo(fd int32, a *rawAddr) unix.Errno {
	for {
		_, _, err := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a.buf)), a.size)
		if err != unix.EINTR {
			return err
		}
	}
}

// localAddr is where a connected socket leaves from.
func localAddr(fd int32) netip.AddrPort {
	var a rawAddr
	size := uint32(len(a.buf))
	if _, _, err := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&a.buf)), uintptr(unsafe.Pointer(&size))); err != 0 {
		return netip.AddrPort{}
	}
	return a.addrPort()
}

// pendingError is what became of a connect, 0 if it worked.
func pendingError(fd int32) unix.Errno {
	var code int32
	size := uint32(unsafe.Sizeof(code))
	_, _, err := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&code)), uintptr(unsafe.Pointer(&size)), 0)
	if err != 0 {
		return err
	}
	return unix.Errno(code)
}

// sendTo sends a part of b, which is not empty.
func sendTo(fd int32, b []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if err != unix.EINTR {
			return int(n), err
		}
	}
}

// receive reads into b, which is not empty. It returns 0 at the end.
func receive(fd int32, b []byte) (int, unix.Errno) {
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
		if err != unix.EINTR {
			return int(n), err
		}
	}
}

// peekAt is receive without taking anything away.
func peekAt(fd int32, b []byte) (int, unix.Errno) {
	n, _, err := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return int(n), err
}

func closeSocket(fd int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// poller is an epoll instance.
type poller struct {
	fd     int
	events [1024]unix.EpollEvent
	coarse bool // epoll_pwait2 is missing or forbidden: waits last whole milliseconds

	mu   sync.Mutex
	bell int // an eventfd, whose events are of slot -1; 0: none
}

func (p *poller) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	p.mu.Lock()
	p.fd, p.bell = fd, bell
	p.mu.Unlock()
	if errno := p.watch(int32(bell), -1, 0); errno != 0 {
		p.close()
		return errno
	}
	return nil
}

func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = unix.Close(p.fd), unix.Close(p.bell)
	p.bell = 0
}

// rouse ends the wait that is going on, or the next one. Anyone may call it at any time.
func (p *poller) rouse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bell != 0 {
		one := [8]byte{1}
		_, _ = unix.Write(p.bell, one[:]) // nobody reads it: each write is an edge, and there are few
	}
}

// watch reports every change of a socket from now on, once: edge-triggered, so that nothing need be told again.
func (p *poller) watch(fd, slot, generation int32) unix.Errno {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1), Fd: slot, Pad: generation}
	_, _, err := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&event)), 0, 0)
	return err
}

// wait waits for events, up to d; 0: it only looks. An interruption counts as no events.
func (p *poller) wait(d time.Duration) ([]unix.EpollEvent, error) {
	n, err := p.waitRaw(d)
	switch err {
	case 0:
		return p.events[:n], nil
	case unix.EINTR:
		return nil, nil
	default:
		return nil, err
	}
}

func (p *poller) waitRaw(d time.Duration) (int, unix.Errno) {
	events, most := uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events))
	if d <= 0 {
		n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), events, most, 0, 0, 0)
		return int(n), err
	}
	if !p.coarse {
		n, err := p.waitFine(events, most, d)
		if err != unix.ENOSYS && err != unix.EPERM {
			return n, err
		}
		p.coarse = true
	}
	n, _, err := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), events, most, uintptr((d+time.Millisecond-1)/time.Millisecond), 0, 0)
	return int(n), err
}

// shortWait is how long the loop may wait without the knowledge of Go's scheduler. That saves it, and the thread that
// watches over it, more than the wait itself costs; but whoever wants to stop the world waits as long.
const shortWait = 500 * time.Microsecond

// waitFine waits with epoll_pwait2.
func (p *poller) waitFine(events, most uintptr, d time.Duration) (int, unix.Errno) {
	timeout := unix.NsecToTimespec(int64(min(d, shortWait)))
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), events, most, uintptr(unsafe.Pointer(&timeout)), 0, 0)
	if n != 0 || d <= shortWait {
		return int(n), err
	}
	timeout = unix.NsecToTimespec(int64(d - shortWait))
	n, _, err = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), events, most, uintptr(unsafe.Pointer(&timeout)), 0, 0)
	return int(n), err
}
