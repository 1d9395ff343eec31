package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// relay connects whoever dials the listener with the address, until the listener is closed. The listener was made on the
// host, and a socket stays in the network namespace it was made in: that is the lab's only door to the host.
func relay(listener net.Listener, address string) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	for {
		from, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors, perhaps; the next one may work
			continue
		}
		go func() {
			defer from.Close()
			to, err := dialer.DialContext(context.Background(), "tcp", address)
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
