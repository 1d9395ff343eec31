package cluster

import (
	"io"
	"net"
	"sync"
	"time"
)

// relay connects whoever dials the listener with the address, until the process ends. The listener was made on the
// host, and a socket stays in the network namespace it was made in: that is the lab's only door to the host.
func relay(listener net.Listener, address string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, perhaps; the next one may work
			continue
		}
		go func() {
			defer from.Close()
			to, err := net.DialTimeout("tcp", address, 5*time.Second)
			if err != nil {
				return
			}
			defer to.Close()
			join(from, to)
		}()
	}
}

// join copies both ways and passes on the end of each direction by itself: a caller that has finished sending may
// still be reading.
func join(a, b net.Conn) {
	var group sync.WaitGroup
	group.Go(func() { copyHalf(a, b) })
	group.Go(func() { copyHalf(b, a) })
	group.Wait()
}

func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
