package boot

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// nodeProcesses are the processes of a node by name, and which of them are being restarted.
type nodeProcesses struct {
	specs []Process

	mu         sync.Mutex
	pids       map[string]int
	restarting map[string]bool
}

func newNodeProcesses(specs []Process, watched map[int]string) *nodeProcesses {
	p := &nodeProcesses{specs: specs, pids: map[string]int{}, restarting: map[string]bool{}}
	for pid, name := range watched {
		p.pids[name] = pid
	}
	return p
}

// obey asks the processes to end whose numbers, from 1, come as bytes: they are started again when they have. It returns
// when there is nobody to send any more.
func (p *nodeProcesses) obey(from io.Reader) {
	number := make([]byte, 1)
	for {
		if _, err := io.ReadFull(from, number); err != nil {
			return
		}
		if at := int(number[0]) - 1; at >= 0 && at < len(p.specs) {
			p.restart(p.specs[at].Name)
		}
	}
}

func (p *nodeProcesses) restart(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.restarting[name] {
		return
	}
	p.restarting[name] = true
	_ = syscall.Kill(p.pids[name], syscall.SIGTERM) // one that has ended is news by itself
}

// again starts a process that has ended because it was to be restarted, and returns its new id. restarted: it was.
func (p *nodeProcesses) again(name string) (pid int, restarted bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.restarting[name] {
		return 0, false, nil
	}
	delete(p.restarting, name)
	for _, spec := range p.specs {
		if spec.Name == name {
			pid, err = start(spec, nil)
			p.pids[name] = pid
			return pid, true, err
		}
	}
	return 0, false, os.ErrNotExist
}
