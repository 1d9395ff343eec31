//go:build !race

package analyze_test

const slowdown = 1
