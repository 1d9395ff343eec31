package loadgen

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDriveShowsOpenConnectionsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, readyLine)
			for second := range 8 {
				time.Sleep(time.Second)
				_, _ = fmt.Fprintf(w, `{"open":[{"stream":"web","agent":"web-0","id":1,"slot":0,"address":"10.96.0.10:80","opened":0,"requests":%d}]}`+"\n", second+1)
			}
			_, _ = io.WriteString(w, `{"connections":[`+rowJSON+"]}\n"+`{"done":{"seconds":8}}`+"\n")
		}()
		began := time.Now()
		var got []string
		err := Drive(t.Context(), scripted(r), planOf(nil), func(m Message) error {
			for _, row := range m.Open {
				got = append(got, fmt.Sprintf("after %v: connection %d with %d requests", time.Since(began), row.ID, row.Requests))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"after 1s: connection 1 with 1 requests", "after 4s: connection 1 with 4 requests", "after 7s: connection 1 with 7 requests",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDriveKeepsEveryConnectionOfAChannelThatBalances(t *testing.T) {
	row := func(id int) string {
		return fmt.Sprintf(`{"stream":"web","agent":"web-0","id":%d,"slot":0,"address":"echo.example:80","opened":0,"requests":1,"backend":"a"}`, id)
	}
	stream := readyLine + `{"open":[` + row(1) + "," + row(2) + "," + row(3) + "]}\n" + `{"connections":[` + row(2) + "]}\n"
	plan := planOf(func(p *Plan) {
		p.Protocol, p.GRPCPolicy, p.Addresses[0].HostPort = ProtocolGRPC, GRPCRoundRobin, "echo.example:80"
	})
	var finished []int
	err := Drive(t.Context(), scripted(strings.NewReader(stream)), plan, func(m Message) error {
		for _, c := range m.Connections {
			finished = append(finished, c.ID)
		}
		return nil
	})
	if !errors.Is(err, errEnded) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]int{2, 1, 3}, finished); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
