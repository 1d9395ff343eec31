//go:build race

package skew

// slowdown is how many times fewer runs simulations make under the race detector, which has nothing to find in them.
const slowdown = 5
