//go:build race

package analyze_test

// slowdown is how many times fewer runs the simulations make under the race detector, which has nothing to find in them.
const slowdown = 5
