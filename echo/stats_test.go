package echo

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLedgerCountsWhatItNoLongerTellsApart(t *testing.T) {
	l := newLedger(2, 2)
	// Connections 1 and 2 from .9, 3 from .10, 4 from .11; as many requests on each as its number.
	for i, host := range []int{9, 9, 10, 11} {
		number := uint64(i + 1)
		addr := netip.AddrFrom4([4]byte{10, 78, 0, byte(host)})
		u := l.open(number, fmt.Sprintf("%v:%d", addr, 1000+i), "HTTP/1.1", addr)
		for range number {
			l.count(u)
		}
	}
	want := Stats{
		Requests: 10, Connections: 4,
		PerConnection: []ConnectionStats{
			{Connection: 1, Client: "10.78.0.9:1000", Protocol: "HTTP/1.1", Requests: 1},
			{Connection: 2, Client: "10.78.0.9:1001", Protocol: "HTTP/1.1", Requests: 2},
		},
		PerSource: []SourceStats{
			{Address: "10.78.0.9", Connections: 2, Requests: 3},
			{Address: "10.78.0.10", Connections: 1, Requests: 3},
		},
		PerProtocol: []ProtocolStats{{Protocol: "HTTP/1.1", Connections: 4, Requests: 10}},
		Truncated:   Truncation{Connections: 2, SourceConnections: 1, SourceRequests: 4},
	}
	if diff := cmp.Diff(want, l.stats(0, 10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddressesAreInTheirOrderAndNamesAfterThem(t *testing.T) {
	order := []string{"9.0.0.1", "10.0.0.1", "fd00::1", "pipe", "quay"}
	for i, a := range order {
		for j, b := range order {
			got := compareAddresses(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
}
