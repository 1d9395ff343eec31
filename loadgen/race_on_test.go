//go:build race

package loadgen

// raceEnabled says that the race detector takes memory of its own.
const raceEnabled = true
