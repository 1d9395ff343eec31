package boot

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// held is what a component of the test does, in a process of its own: descriptor 3 of the test's is the runtime's.
const held = "PODSKEW_TEST_HELD"

func TestAComponentWaitsAtItsGate(t *testing.T) {
	if os.Getenv(held) != "" {
		fmt.Println("there")
		AwaitGate()
		fmt.Printf("begun, gate %q\n", os.Getenv(gateEnv))
		os.Exit(0)
	}
	for name, gated := range map[string]bool{"with a gate": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestAComponentWaitsAtItsGate$")
			cmd.Env = append(os.Environ(), held+"=1")
			gate, err := NewGate()
			if err != nil {
				t.Fatal(err)
			}
			if gated {
				var wait *os.File
				cmd.Env, wait = gate.Hold(cmd.Env)
				cmd.ExtraFiles = []*os.File{wait}
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "there" {
				t.Fatalf("got %q", lines.Text())
			}
			began := make(chan string, 1)
			go func() { lines.Scan(); began <- lines.Text() }()
			if gated {
				select {
				case said := <-began:
					t.Fatalf("it did not wait: %q", said)
				case <-time.After(200 * time.Millisecond):
				}
				gate.Open()
			}
			if said := <-began; !strings.HasPrefix(said, `begun, gate ""`) {
				t.Errorf("it says %q", said)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
