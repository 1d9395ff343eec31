package boot

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
)

func TestOnlyWhatWasToBeRestartedIsStartedAgain(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skipf("no process to end: %v", err)
	}
	p := newNodeProcesses([]Process{{Name: "kubelet"}, {Name: "kube-proxy"}}, map[int]string{cmd.Process.Pid: "kube-proxy"})
	if _, restarted, _ := p.again("kube-proxy"); restarted {
		t.Error("one that ended by itself was started again")
	}
	p.obey(bytes.NewReader([]byte{2, 0, 9})) // the second process; numbers that there are not
	_ = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
	if !p.restarting["kube-proxy"] || p.restarting["kubelet"] {
		t.Errorf("to be restarted: %v", p.restarting)
	}
}
