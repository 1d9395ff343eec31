package boot

import (
	"io"
	"os"
	"slices"
	"syscall"
)

// FDGate is the read end of the pipe at which a component waits that was started with a gate.
const FDGate = 3

// gateEnv tells a component that it has a gate.
const gateEnv = "PODSKEW_LAB_GATE"

// Gate holds a component back that is started before what it needs is there. Some 0.3 s of processor time of its start are its own
// business: loading the binary, initialising the packages of Kubernetes, building its command. While the API server
// starts, half of the machine has nothing else to do.
type Gate struct{ r, w *os.File }

// NewGate returns a closed gate.
func NewGate() (*Gate, error) {
	r, w, err := os.Pipe()
	return &Gate{r, w}, err
}

// Hold returns the environment and the file, to be inherited as FDGate, of a component that is to wait at the gate.
func (g *Gate) Hold(env []string) ([]string, *os.File) {
	return append(slices.Clip(env), gateEnv+"=1"), g.r
}

// Open lets the component begin.
func (g *Gate) Open() {
	_ = g.w.Close()
	_ = g.r.Close()
}

// AwaitGate returns when the gate is open, for a process that has none at once. It is called once, before the component
// speaks to another.
func AwaitGate() {
	if os.Getenv(gateEnv) == "" {
		return
	}
	_ = os.Unsetenv(gateEnv)
	syscall.CloseOnExec(FDGate)
	gate := os.NewFile(FDGate, "gate")
	defer gate.Close()
	_, _ = io.Copy(io.Discard, gate)
}
