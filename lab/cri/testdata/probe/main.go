// Command probe is the program that the tests run in containers: it does what its arguments say and reports what it
// sees from inside.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) < 2 {
		fail("no command given")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "report":
		report(args)
	case "wait":
		wait()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("stubborn")
		time.Sleep(time.Hour)
	case "exit":
		fmt.Println("leaving")
		fmt.Fprintln(os.Stderr, "with complaints")
		os.Exit(number(args[0]))
	case "print":
		fmt.Print(strings.Join(args, " "))
	case "flood":
		flood(number(args[0]))
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "spawn":
		spawn()
	case "listen":
		listen(args[0])
	case "terminal":
		terminal()
	case "mmap":
		hold(number(args[0]))
	default:
		fail("unknown command " + os.Args[1])
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fail(err.Error())
	}
	return n
}

// report prints what the process sees. Arguments are paths to read, and with a leading + paths to create.
func report(paths []string) {
	cwd, _ := os.Getwd()
	hostname, _ := os.Hostname()
	seen := map[string]any{
		"pid": os.Getpid(), "cwd": cwd, "hostname": hostname, "env": os.Environ(), "args": os.Args,
		"uid": os.Getuid(), "gid": os.Getgid(), "terminal": isTerminal(),
	}
	groups, _ := os.Getgroups()
	seen["groups"] = groups
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if name, value, ok := strings.Cut(line, ":"); ok && (strings.HasPrefix(name, "Cap") || name == "NoNewPrivs") {
			seen[name] = strings.TrimSpace(value)
		}
	}
	addrs := []string{}
	if list, err := net.InterfaceAddrs(); err == nil {
		for _, a := range list {
			addrs = append(addrs, a.String())
		}
	}
	seen["addrs"] = addrs
	files := map[string]string{}
	for _, path := range paths {
		files[path] = look(path)
	}
	seen["files"] = files
	json.NewEncoder(os.Stdout).Encode(seen)
}

// look returns a file's content, the names in a directory, or "error: " and why not.
func look(path string) string {
	if created, ok := strings.CutPrefix(path, "+"); ok {
		f, err := os.OpenFile(created, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return "error: " + err.Error()
		}
		defer f.Close()
		if _, err := f.WriteString("written inside"); err != nil {
			return "error: " + err.Error()
		}
		return "ok"
	}
	if entries, err := os.ReadDir(path); err == nil {
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(data)
}

func isTerminal() bool {
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != os.DevNull
}

// terminal waits for a window size and a line, and tells both.
func terminal() {
	name, _ := os.Readlink("/proc/self/fd/0")
	if _, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err != nil {
		fail(err.Error())
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	var size [4]uint16
	for {
		syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
		if size[0] != 0 {
			break
		}
		<-resized
	}
	fmt.Printf("terminal %s %dx%d\n", name, size[1], size[0])
	var line string
	fmt.Scanln(&line)
	fmt.Println("read", line)
}

// wait ends well on SIGTERM.
func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1)
	fmt.Println("waiting")
	got := <-c
	fmt.Println("got", got)
	if got == syscall.SIGUSR1 {
		os.Exit(10)
	}
}

// flood prints lines until n bytes.
func flood(n int) {
	line := strings.Repeat("x", 99) + "\n"
	for ; n > 0; n -= len(line) {
		fmt.Print(line)
	}
}

// spawn starts two processes, one of them in a session of its own, and waits.
func spawn() {
	for _, session := range []bool{false, true} {
		cmd := exec.Command("/probe", "stubborn")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
		if err := cmd.Start(); err != nil {
			fail(err.Error())
		}
	}
	wait()
}

// listen echoes one connection after the other.
func listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			fail(err.Error())
		}
		io.Copy(c, c)
		c.Close()
	}
}

// hold uses memory and CPU and waits.
func hold(mib int) {
	block := make([]byte, mib<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	var used syscall.Rusage
	for used.Utime.Nano()+used.Stime.Nano() < int64(100*time.Millisecond) {
		syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	}
	fmt.Println("holding")
	wait()
	fmt.Println(len(block))
}
