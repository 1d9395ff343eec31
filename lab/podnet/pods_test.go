package podnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestNewPods(t *testing.T) {
	tests := []struct {
		cidr    string
		gateway string // empty: refused
	}{
		{"10.78.1.0/24", "10.78.1.1"},
		{"10.78.1.77/24", "10.78.1.1"},
		{"10.78.1.8/29", "10.78.1.9"},
		{"10.78.1.0/30", ""},
		{"fd00::/64", ""},
	}
	for _, tt := range tests {
		p, err := NewPods(netip.MustParsePrefix(tt.cidr))
		switch {
		case err != nil && tt.gateway != "":
			t.Errorf("%s: %v", tt.cidr, err)
		case err == nil && p.gateway.String() != tt.gateway:
			t.Errorf("%s: gateway %s, want %q", tt.cidr, p.gateway, tt.gateway)
		}
	}
}

func TestAllocate(t *testing.T) {
	p, err := NewPods(netip.MustParsePrefix("10.78.1.0/29")) // .2 to .6 are for pods
	if err != nil {
		t.Fatal(err)
	}
	take := func(id string) string {
		t.Helper()
		a, err := p.allocate(id)
		if err != nil {
			return "none"
		}
		return strings.TrimPrefix(a.String(), "10.78.1.")
	}
	var got []string
	for i := range 6 {
		got = append(got, take(fmt.Sprint("pod", i)))
	}
	if s := fmt.Sprint(got); s != "[2 3 4 5 6 none]" {
		t.Errorf("in turn: %s", s)
	}
	p.release("pod1")
	p.release("pod3")
	p.release("pod1")
	if s := take("a") + take("b") + take("c"); s != "35none" {
		t.Errorf("after giving back 3 and 5: %s", s)
	}
	p.release("a")
	p.release("pod4")
	if s := take("d"); s != "6" {
		t.Errorf("an address comes round last, so 6 and not 3 again: %s", s)
	}
	if s := take("d"); s != "none" {
		t.Errorf("the same pod twice: %s", s)
	}
}

func TestLinkName(t *testing.T) {
	a, b := linkName("sandbox-a"), linkName("sandbox-b")
	if a == b || len(a) > 15 || a != linkName("sandbox-a") {
		t.Errorf("%q and %q", a, b)
	}
}
