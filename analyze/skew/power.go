package skew

// Need is the question how large a skew a number of units can show, and how many units a skew of some size needs: one
// backend that gets Factor times its share, the others less in proportion. The answers are a slightly pessimistic bound for
// [Law.Test], from exact binomial tails with the level split over four directions and all backends.
type Need struct {
	Backends int     // that can be chosen
	Share    float64 // of the backend in question; 0: 1/Backends
	Alpha    float64 // level of the test; 0: 0.01
	Power    float64 // probability of seeing it; 0: 0.8
}

func (n Need) filled() Need {
	if n.Share == 0 {
		n.Share = 1 / float64(max(n.Backends, 1))
	}
	if n.Alpha == 0 {
		n.Alpha = 0.01
	}
	if n.Power == 0 {
		n.Power = 0.8
	}
	return n
}

// critical returns the smallest count of units on one backend that the test rejects, units+1 if none is.
func (n Need) critical(units int) int {
	level := n.Alpha / (4 * float64(n.Backends))
	return bisect(0, units+1, func(k int) bool { return UpperTail(k, units, n.Share) <= level })
}

func (n Need) power(units, critical int, factor float64) float64 {
	return UpperTail(critical, units, min(1, factor*n.Share))
}

// SmallestFactor returns the smallest factor that units show with the power asked for; 0 if they cannot show any.
func (n Need) SmallestFactor(units int) float64 {
	n = n.filled()
	if n.Backends < 2 || units < 1 {
		return 0
	}
	critical := n.critical(units)
	if critical > units {
		return 0
	}
	low, high := 1.0, 1/n.Share
	if n.power(units, critical, high) < n.Power {
		return 0
	}
	for range 60 {
		mid := (low + high) / 2
		if n.power(units, critical, mid) >= n.Power {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// PowerAt returns the probability with which units show factor, whatever power was asked for. 0 if they cannot show any.
func (n Need) PowerAt(units int, factor float64) float64 {
	n = n.filled()
	if n.Backends < 2 || units < 1 || factor <= 1 {
		return 0
	}
	return n.power(units, n.critical(units), factor)
}

// mostUnits is where looking for a number of units ends.
const mostUnits = 1 << 30

// Units returns the number of units from which on factor is seen with the power asked for; 0 if no number does, because
// no backend can have factor times its share.
func (n Need) Units(factor float64) int {
	n = n.filled()
	if n.Backends < 2 || factor <= 1 || factor*n.Share > 1 {
		return 0
	}
	enough := func(units int) bool { return n.power(units, n.critical(units), factor) >= n.Power }
	high := 2
	for !enough(high) {
		if high *= 2; high > mostUnits {
			return 0
		}
	}
	answer := bisect(high/2, high, enough)
	// Power saws: it falls each time the critical count steps up. Follow the teeth until none falls short any more.
	for units, good := answer, 0; good < 16; {
		units = n.nextTooth(units)
		if enough(units) {
			good++
			continue
		}
		good = 0
		for !enough(units) {
			units++
		}
		answer = units
	}
	return answer
}

// nextTooth returns the first number of units above units with a larger critical count.
func (n Need) nextTooth(units int) int {
	critical := n.critical(units)
	larger := func(units int) bool { return n.critical(units) > critical }
	step := 1
	for !larger(units + step) {
		step *= 2
	}
	return bisect(units+step/2, units+step, larger)
}

// bisect returns the smallest number from low to high for which ok holds; it holds for high and, if for one, for all larger.
func bisect(low, high int, ok func(int) bool) int {
	for low < high {
		mid := (low + high) / 2
		if ok(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
