package cri

import (
	"os"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRuntimeStats(t *testing.T) {
	h := newHarness(t)
	pod := h.runPod(h.podConfig("web"))
	id := h.start(pod, containerConfig("mmap", "32"))
	h.start(pod, labelled(containerConfig("wait"), "small"))
	h.waitLog(id, "holding")
	resp, err := h.client.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
	if err != nil {
		t.Fatal(err)
	}
	if cpu := time.Duration(resp.Stats.Cpu.UsageCoreNanoSeconds.Value); cpu < 50*time.Millisecond || cpu > time.Minute {
		t.Errorf("CPU time is %v", cpu)
	}
	if memory := resp.Stats.Memory.WorkingSetBytes.Value; memory < 32<<20 || memory > 256<<20 {
		t.Errorf("memory is %d bytes", memory)
	}
	list, err := h.client.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{
		Filter: &runtimeapi.ContainerStatsFilter{LabelSelector: map[string]string{"name": "small"}},
	})
	if err != nil || len(list.Stats) != 1 || list.Stats[0].Attributes.Metadata.Name != "small" {
		t.Errorf("list by label: %v, %v", list, err)
	}
	pods, err := h.client.ListPodSandboxStats(t.Context(), &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil || len(pods.Stats) != 1 || len(pods.Stats[0].Linux.Containers) != 2 || pods.Stats[0].Linux.Process.ProcessCount.Value != 2 {
		t.Errorf("pods: %v, %v", pods, err)
	}
}

func TestUsageAdd(t *testing.T) {
	const rest = " 7 0 -1 4194560 100 0 0 0 5 6 7 8 20 0 1 0 1000 100000000 250 18446744073709551615 1 1"
	for name, test := range map[string]struct {
		line string
		want usage
	}{
		"a plain name":             {"7 (probe) S 1 7" + rest, usage{260 * time.Millisecond, 250 * uint64(os.Getpagesize()), 1}},
		"a name that looks like a": {"7 (a) S 1 (b) S 1 7" + rest, usage{260 * time.Millisecond, 250 * uint64(os.Getpagesize()), 1}},
		"too few fields":           {"7 (probe) S 1 7", usage{}},
		"no name":                  {"", usage{}},
	} {
		var got usage
		got.add([]byte(test.line))
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func FuzzUsageAdd(f *testing.F) {
	f.Add([]byte("7 (probe) S 1 7 7 0 -1 4194560 100 0 0 0 5 6 7 8 20 0 1 0 1000 100000000 250 18446744073709551615"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var u usage
		u.add(line)
		if u.processes > 1 {
			t.Errorf("%q counts as %d processes", line, u.processes)
		}
	})
}
