package analyze

import "testing"

func TestFiguresInSentences(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{figure(1.5349), "1.53"},
		{figure(0), "0"},
		{figure(123456.7), "123457"},
		{figure(0.0123456), "0.0123"},
		{figure(5.0805e-05), "5.08e-05"},
		{figure(-2.5), "-2.5"},
		{percent(0.16666), "16.7 %"},
		{percent(1), "100 %"},
		{milliseconds(0.00040123), "0.401 ms"},
		{plural(1, "pod", "pods"), "1 pod"},
		{plural(2, "pod", "pods"), "2 pods"},
		{tiny(0), "< 1e-300"},
		{listed([]string{"a", "b"}), "a, b"},
		{listed([]string{"a", "b", "c", "d", "e", "f", "g"}), "a, b, c, d, e and 2 more"},
		{joined([]string{"50", "25", "25"}), "50/25/25"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestSpreadShares(t *testing.T) {
	for _, c := range []struct {
		pods, nodes    int
		most, smallest float64
	}{
		{4, 2, 1. / 4, 1. / 4},
		{4, 3, 1. / 3, 1. / 6},
		{5, 2, 1. / 4, 1. / 6},
	} {
		shares := spreadShares(c.pods, c.nodes)
		sum := 0.0
		for _, s := range shares {
			sum += s
		}
		if len(shares) != c.pods || shares[0] != c.most || shares[len(shares)-1] != c.smallest || sum < 0.999999 || sum > 1.000001 {
			t.Errorf("%d pods on %d nodes: %v", c.pods, c.nodes, shares)
		}
	}
}
