package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/loadgen"
	"github.com/podskew/podskew/record"
)

// echoPod runs an echo server on loopback ports and returns where its protocols are spoken.
func echoPod(t *testing.T) map[string]string {
	t.Helper()
	var l echo.Listeners
	var err error
	for _, to := range []*net.Listener{&l.HTTP, &l.HTTPS, &l.TCP} {
		if *to, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if l.UDP, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- echo.New(echo.Options{Identity: echo.Identity{Pod: "echo-1"}}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return map[string]string{
		"web": l.HTTP.Addr().String(), "secure": l.HTTPS.Addr().String(), "lines": l.TCP.Addr().String(),
		"datagrams": l.UDP.LocalAddr().String(),
	}
}

func TestTheAgentRunsPlansOfEveryProtocol(t *testing.T) {
	pod := echoPod(t)
	var targets []string
	for _, address := range pod {
		targets = append(targets, address)
	}
	agent, _ := startAgent(t.Context(), t, time.Hour, targets...)
	for _, tc := range []struct {
		protocol, at string
		tls          bool
	}{
		{loadgen.ProtocolHTTP1, "web", false}, {loadgen.ProtocolHTTP1, "secure", true},
		{loadgen.ProtocolHTTP2, "web", false}, {loadgen.ProtocolHTTP2, "secure", true},
		{loadgen.ProtocolGRPC, "web", false}, {loadgen.ProtocolGRPC, "secure", true},
		{loadgen.ProtocolWebSocket, "web", false}, {loadgen.ProtocolTCP, "lines", false}, {loadgen.ProtocolUDP, "datagrams", false},
	} {
		name := tc.protocol
		if tc.tls {
			name += " with TLS"
		}
		t.Run(name, func(t *testing.T) {
			plan := longPlan(pod[tc.at])
			plan.Stream, plan.Protocol, plan.TLS = name, tc.protocol, tc.tls
			plan.Stream = tc.protocol + tc.at
			plan.Duration, plan.Requests, plan.RequestsPerConnection = 0, 12, 3
			plan.Addresses = []record.Address{{HostPort: pod[tc.at]}}
			var rows []record.Connection
			var done *loadgen.Done
			if err := loadgen.Drive(t.Context(), poster(agent), plan, func(m loadgen.Message) error {
				rows = append(rows, m.Connections...)
				if m.Done != nil {
					done = m.Done
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(rows) != 4 || done == nil || len(done.Problems) > 0 || done.Generator == nil {
				t.Fatalf("%d rows, %+v", len(rows), done)
			}
			for _, row := range rows {
				if row.Backend != "echo-1" || row.Requests != 3 || row.Error != "" || row.Observed != row.Local || row.ServerConn == 0 {
					t.Errorf("row %+v", row)
				}
			}
		})
	}
}
