package cri

import (
	"syscall"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stopSignal returns the signal that asks a container to end; SIGTERM unless the pod says otherwise.
func stopSignal(signal runtimeapi.Signal) syscall.Signal {
	if signal >= runtimeapi.Signal_SIGRTMIN {
		// Real-time signals are listed one above their number.
		return syscall.Signal(signal - 1)
	}
	if number := unix.SignalNum(signal.String()); number != 0 {
		return number
	}
	return syscall.SIGTERM
}
