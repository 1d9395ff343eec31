package loadgen

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podskew/podskew/record"
)

var serve = flag.Bool("podskew.serve", false, "be the server of the benchmarks, in a process of its own so that its CPU time does not count")

func TestMain(m *testing.M) {
	flag.Parse()
	if *serve {
		benchServer(os.NewFile(3, "address"), os.NewFile(4, "parent"))
		return
	}
	if *client != "" {
		benchClient(*client)
		return
	}
	waitTogether()
	m.Run()
}

// waitTogether lets more tests run at a time than there are processors: most of them wait for real sockets and timers.
func waitTogether() {
	set := flag.Lookup("test.parallel")
	if flag.Lookup("test.fuzz").Value.String() == "" && set.Value.String() == set.DefValue {
		_ = set.Value.Set("8")
	}
}

// benchReply is as long as an echo pod's.
const benchBody = 600

var benchReply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 20 Nov 2025 00:00:00 GMT\r\nX-Podskew-Pod: echo-7d9c5b6f4-x2x9z\r\n" +
	"X-Podskew-Node: worker2\r\nX-Podskew-Zone: b\r\nX-Podskew-Client: 10.244.1.17:43210\r\nX-Podskew-Connection: 12\r\n" +
	"X-Podskew-Request: 17\r\nContent-Length: " + strconv.Itoa(benchBody) + "\r\n\r\n" + strings.Repeat("x", benchBody)

// benchServer answers every request with the same bytes, as cheaply as can be, until its parent is gone.
func benchServer(address io.Writer, parent io.Reader) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(address, listener.Addr().String()+"\n")
	go func() {
		_, _ = io.Copy(io.Discard, parent)
		_ = listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			reply, buf := []byte(benchReply), make([]byte, 4096)
			for {
				n, err := conn.Read(buf) // one request is one segment on loopback
				if err != nil {
					return
				}
				if _, err := conn.Write(reply); err != nil || bytes.Contains(buf[:n], []byte("Connection: close")) {
					return
				}
			}
		}()
	}
}

// startBenchServer starts it and returns its address.
func startBenchServer(tb testing.TB) string {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	fromServer, address := pipe(tb)
	parent, toServer := pipe(tb)
	cmd := exec.Command(self, "-podskew.serve")
	cmd.ExtraFiles = []*os.File{address, parent}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = toServer.Close()
		_ = cmd.Wait()
	})
	_, _ = address.Close(), parent.Close()
	line, err := bufio.NewReader(fromServer).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func pipe(tb testing.TB) (r, w *os.File) {
	tb.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	return r, w
}

// perCPU reports requests per second of this process's CPU time, which is what clients are compared by: how much load a
// core can make does not depend on how busy the server is.
func perCPU(b *testing.B, run func(requests int)) {
	b.Helper()
	began := cpuTime()
	b.ResetTimer()
	run(b.N)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/(cpuTime()-began).Seconds(), "req/cpu-s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

const benchConnections = 16

func benchPlan(b *testing.B, address string, connections, perConnection int) {
	b.Helper()
	perCPU(b, func(requests int) {
		plan := planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: address}}
			p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = connections, requests, 0, perConnection
			p.ConnectTimeout, p.Timeout = time.Minute, time.Minute // the machine may be busy, and a full backlog drops SYNs
		})
		failed := 0
		err := Run(b.Context(), plan, func(m Message) error {
			if m.Progress != nil {
				failed = m.Progress.Errors
			}
			return nil
		})
		if err != nil || failed > 0 {
			b.Fatal(err, failed)
		}
	})
}

func BenchmarkKeepAlive(b *testing.B) {
	b.ReportAllocs()
	benchPlan(b, startBenchServer(b), benchConnections, 0)
}

func BenchmarkFresh(b *testing.B) {
	b.ReportAllocs()
	benchPlan(b, startBenchServer(b), benchConnections, 1)
}

// BenchmarkKeepAliveMany also says how much memory thousands of connections take. The server's are as many, which is why
// they are no more.
func BenchmarkKeepAliveMany(b *testing.B) {
	benchPlan(b, startBenchServer(b), 5000, 0)
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(usage.Maxrss)/1024, "MB-max")
}

// BenchmarkKeepAliveBare is what BenchmarkKeepAlive is to be compared with: the least a client can do, as wrk does. It
// knows how long answers are, looks at none of them, takes no time and records nothing.
func BenchmarkKeepAliveBare(b *testing.B) {
	address := startBenchServer(b)
	request := []byte("GET / HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: podskew\r\n\r\n")
	perCPU(b, func(requests int) {
		concurrently(b, func(i int) error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			buf := make([]byte, 4096)
			for n := i; n < requests && err == nil; n += benchConnections {
				_, err = conn.Write(request)
				for left := len(benchReply); left > 0 && err == nil; {
					n := 0
					n, err = conn.Read(buf)
					left -= n
				}
			}
			return err
		})
	})
}

func concurrently(b *testing.B, work func(i int) error) {
	b.Helper()
	var all sync.WaitGroup
	for i := range benchConnections {
		all.Go(func() {
			if err := work(i); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
}

// BenchmarkFreshBare is the same for fresh connections.
func BenchmarkFreshBare(b *testing.B) {
	address := startBenchServer(b)
	request := []byte("GET / HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: podskew\r\nConnection: close\r\n\r\n")
	perCPU(b, func(requests int) {
		concurrently(b, func(i int) error {
			buf := make([]byte, 4096)
			for n := i; n < requests; n += benchConnections {
				conn, err := (&net.Dialer{KeepAlive: -1}).Dial("tcp", address)
				if err != nil {
					return err
				}
				_, err = conn.Write(request)
				for err == nil {
					_, err = conn.Read(buf)
				}
				_ = conn.Close()
			}
			return nil
		})
	})
}

func BenchmarkParser(b *testing.B) {
	b.ReportAllocs()
	in := []byte(benchReply)
	var p parser
	var from attribution
	n := newNames()
	for b.Loop() {
		p.reset()
		if _, done, err := p.feed(in); !done || err != nil {
			b.Fatal(done, err)
		}
		if err := from.update(&p, n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFreshManySources opens connections from several addresses: with -benchtime 1000000x more than one pair of
// addresses has ports for. It says how much memory that takes.
func BenchmarkFreshManySources(b *testing.B) {
	address := startBenchServer(b)
	perCPU(b, func(requests int) {
		plan := planOf(func(p *Plan) {
			p.Addresses = []record.Address{{HostPort: address}}
			p.Connections, p.Requests, p.Duration, p.RequestsPerConnection = 64, requests, 0, 1
			p.ConnectTimeout, p.Timeout = time.Minute, time.Minute
			for i := range 16 {
				p.Sources = append(p.Sources, "127.0.1."+strconv.Itoa(i+1))
			}
		})
		connections, failed := 0, 0
		err := Run(b.Context(), plan, func(m Message) error {
			for _, tally := range m.Tallies {
				connections += tally.Connections
			}
			if m.Progress != nil {
				failed = m.Progress.Errors
			}
			return nil
		})
		if err != nil || failed > 0 || connections != requests {
			b.Fatal(err, failed, connections)
		}
	})
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(usage.Maxrss)/1024, "MB-max")
}

// BenchmarkOpenLoop says how late requests are sent at 20,000 a second.
func BenchmarkOpenLoop(b *testing.B) {
	for name, precise := range map[string]bool{"sleeping": false, "precise": true} {
		b.Run(name, func(b *testing.B) {
			address := startBenchServer(b)
			plan := planOf(func(p *Plan) {
				p.Addresses = []record.Address{{HostPort: address}}
				p.Connections, p.Requests, p.Duration, p.Rate, p.Precise = 100, max(b.N, 1000), 0, 20_000, precise
			})
			b.ResetTimer()
			err := Run(b.Context(), plan, func(m Message) error {
				if m.Done != nil {
					late := m.Done.Generator.Lateness
					b.ReportMetric(late.Quantile(0.5)*1e6, "µs-late-p50")
					b.ReportMetric(late.Quantile(0.99)*1e6, "µs-late-p99")
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
