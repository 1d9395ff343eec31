//go:build !linux || !(amd64 || arm64)

package loadgen

// newEpollDriver returns nil: on this system there is no event loop of our own.
func newEpollDriver(*run) driver { return nil }
