//go:build !race

package skew

const slowdown = 1
