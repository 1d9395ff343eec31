package loadgen

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// maxPortSets bounds the addresses whose ports are remembered, 8 KiB each.
const maxPortSets = 1024

// portSet remembers which local addresses and ports connections left from. The zero value is ready.
type portSet struct {
	reused atomic.Int64 // connections from one that was used before

	mu   sync.Mutex
	seen map[netip.Addr]*[1 << 16 / 64]uint64
}

// note counts a connection that left from local.
func (s *portSet) note(local netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := s.seen[local.Addr()]
	if ports == nil {
		if len(s.seen) == maxPortSets {
			return
		}
		if s.seen == nil {
			s.seen = map[netip.Addr]*[1 << 16 / 64]uint64{}
		}
		ports = new([1 << 16 / 64]uint64)
		s.seen[local.Addr()] = ports
	}
	word, bit := &ports[local.Port()/64], uint64(1)<<(local.Port()%64)
	if *word&bit != 0 {
		s.reused.Add(1)
	}
	*word |= bit
}
