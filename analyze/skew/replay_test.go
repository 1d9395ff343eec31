package skew

import "testing"

// TestReplay holds it against what can be said without a simulation.
func TestReplay(t *testing.T) {
	twice := func(n int) []int {
		var order []int
		for range 2 {
			for i := range n {
				order = append(order, i)
			}
		}
		return order
	}
	seed := NewSeed("replay")
	if r := (Capacity{Clients: 100, Endpoints: 2}).Replay(seed, twice(100), 0); r.Mean != 1 || r.Exceeded != 0 || r.Held != (Range{1, 1}) {
		t.Errorf("a hundred clients fit on one list: %+v", r)
	}
	// As many rounds in the same order are what Simulate plays.
	c := Capacity{Clients: 300, Endpoints: 2}
	if r, want := c.Replay(seed, twice(300), 0), c.Simulate(seed, 0); r.Mean < want.Held[0] || r.Mean > want.Held[1] || r.Exceeded != 1 {
		t.Errorf("three hundred on two: %+v, and two rounds %+v", r, want)
	}
	// On one backend there is no other to move to.
	if r := (Capacity{Clients: 300, Endpoints: 1}).Replay(seed, twice(300), 0); r.Mean != 1 || r.Exceeded != 1 {
		t.Errorf("three hundred on one: %+v", r)
	}
	// Who comes again at once is never forgotten, however many there are.
	var pairs []int
	for i := range 500 {
		pairs = append(pairs, i, i)
	}
	if r := (Capacity{Clients: 500, Endpoints: 2}).Replay(seed, pairs, 0); r.Mean != 1 {
		t.Errorf("each twice in a row: %+v", r)
	}
	if r := (Capacity{Clients: 5, Endpoints: 2}).Replay(seed, nil, 0); r != (CapacityResult{}) {
		t.Errorf("nobody came: %+v", r)
	}
}
