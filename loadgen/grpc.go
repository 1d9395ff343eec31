package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/podskew/podskew/echo"
	"github.com/podskew/podskew/echo/echopb"
	"github.com/podskew/podskew/record"
)

// newGRPCDriver runs calls of the echo service: streams if the plan's path is that of Converse, else unary ones. Under
// pick_first every slot is a channel with one connection; when that is lost, the next one is a new unit. Under
// round_robin every slot is a channel with a connection to each address.
func newGRPCDriver(r *run) driver {
	if r.plan.GRPCPolicy == GRPCRoundRobin {
		return newBalancedDriver(r)
	}
	return newSessionDriver(r, ProtocolGRPC, r.openGRPC)
}

// grpcPaths are the paths that a plan of this protocol can have. The first one stands for the second.
func grpcPaths() []string {
	return []string{"/", echopb.Echo_Who_FullMethodName, echopb.Echo_Converse_FullMethodName}
}

// grpcSession is a channel that has one connection and gets no other.
type grpcSession struct {
	run     *run
	conn    *watchedConn
	channel *grpc.ClientConn
	again   *atomic.Bool // the channel wanted another connection
}

// openGRPC dials, and hands the connection to a channel.
func (r *run) openGRPC(ctx context.Context, t *track, nth int) (session, error) {
	conn, watched, err := r.dialWatched(ctx, t, nth, "h2")
	if err != nil {
		return nil, err
	}
	s := &grpcSession{run: r, conn: watched, again: new(atomic.Bool)}
	var given atomic.Bool
	dialled := func(context.Context, string) (net.Conn, error) {
		if given.Swap(true) {
			s.again.Store(true)
			return nil, errClosed
		}
		return conn, nil
	}
	s.channel, err = grpc.NewClient("passthrough:///"+r.targets[t.target].hostPort, r.grpcOptions(dialled, 2*r.plan.ConnectTimeout)...)
	if err == nil {
		err = s.ready(ctx)
	}
	if err != nil {
		s.close(false)
		return nil, err
	}
	return s, nil
}

// grpcOptions are those of every channel: no retries, since every call is to be seen, and the pauses of every driver
// instead of gRPC's own.
func (r *run) grpcOptions(dial func(context.Context, string) (net.Conn, error), connectTimeout time.Duration) []grpc.DialOption {
	host := r.plan.Host
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(handshaken{encrypted: r.plan.TLS}), grpc.WithContextDialer(dial), grpc.WithNoProxy(),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(),
		grpc.WithUserAgent("podskew"), grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: firstPause, Multiplier: 2, MaxDelay: maxPause},
			MinConnectTimeout: connectTimeout,
		}),
	}
	if host != "" {
		options = append(options, grpc.WithAuthority(host))
	}
	return options
}

// ready waits until the connection can be used.
func (s *grpcSession) ready(ctx context.Context) error {
	s.channel.Connect()
	for {
		switch state := s.channel.GetState(); state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			if err := cmp.Or(ctx.Err(), s.conn.failure()); err != nil {
				return err
			}
			return fmt.Errorf("%w: it does not speak HTTP/2", errCut)
		default:
			if !s.channel.WaitForStateChange(ctx, state) {
				return ctx.Err()
			}
		}
	}
}

func (s *grpcSession) stream() exchanger { return newCaller(s.run, s.channel, s) }

func (s *grpcSession) local() string { return s.conn.LocalAddr().String() }

func (s *grpcSession) close(bool) {
	if s.channel != nil {
		_ = s.channel.Close()
	}
	_ = s.conn.Close()
}

// lost says why a call was not answered if the connection is the reason. A channel that wants another connection has not
// sent the call.
func (s *grpcSession) lost(context.Context) (err error, unsent bool) { //nolint:revive // the error is what the answer is
	if s.again.Load() {
		return errClosed, true
	}
	return s.conn.failure(), false
}

// severed implements callee.
func (s *grpcSession) severed() error { return s.conn.severed() }

// over reports whether the connection can be used no more.
func (s *grpcSession) over() bool {
	return s.conn.failure() != nil || s.channel.GetState() != connectivity.Ready
}

// callee is what a caller asks about the connection that a call was made on.
type callee interface {
	lost(ctx context.Context) (err error, unsent bool)
	over() bool
	severed() error // what ended the connection, if that was no goodbye
}

// caller makes the calls of one of the requests in flight.
type caller struct {
	run     *run
	client  echopb.EchoClient
	callee  callee
	request *echopb.WhoRequest
	streams bool
	sent    int

	stream grpc.BidiStreamingClient[echopb.WhoRequest, echopb.Identity] // nil: none is open
	end    context.CancelFunc                                           // of the stream
}

func newCaller(r *run, channel *grpc.ClientConn, c callee) *caller {
	path, query, _ := strings.Cut(r.plan.Path, "?")
	return &caller{
		run: r, client: echopb.NewEchoClient(channel), callee: c,
		request: &echopb.WhoRequest{Query: query}, streams: path == echopb.Echo_Converse_FullMethodName,
	}
}

// exchange implements exchanger.
func (c *caller) exchange(ctx context.Context, from *attribution) outcome {
	c.sent++
	c.request.RequestId = strconv.Itoa(c.sent)
	var trailer metadata.MD
	call := c.call
	if c.streams {
		call = c.converse
	}
	identity, err := call(ctx, &trailer)
	if err != nil {
		return c.failed(ctx, err, trailer, from)
	}
	return c.credited(identity.GetPod(), identity.GetClient(), strconv.FormatUint(identity.GetConnection(), 10), from)
}

func (c *caller) call(ctx context.Context, trailer *metadata.MD) (*echopb.Identity, error) {
	return c.client.Who(ctx, c.request, grpc.Trailer(trailer))
}

// converse sends one message on the stream, which it opens if there is none. The stream outlives ctx, unless the answer
// takes longer.
func (c *caller) converse(ctx context.Context, trailer *metadata.MD) (*echopb.Identity, error) {
	if c.stream == nil {
		streamCtx, end := context.WithCancel(context.WithoutCancel(ctx))
		stream, err := c.client.Converse(streamCtx)
		if err != nil {
			end()
			return nil, err
		}
		c.stream, c.end = stream, end
	}
	defer context.AfterFunc(ctx, c.end)()
	err := c.stream.Send(c.request)
	var identity *echopb.Identity
	if identity, err = c.receive(err); err != nil {
		*trailer = c.stream.Trailer()
		c.end()
		c.stream = nil
	}
	return identity, err
}

// finished implements finisher.
func (c *caller) finished() {
	if c.stream != nil {
		c.end()
	}
}

// receive waits for the answer. What Send failed with says nothing; the end of the stream does.
func (c *caller) receive(sent error) (*echopb.Identity, error) {
	identity, err := c.stream.Recv()
	if err == nil && sent != nil {
		return nil, sent
	}
	return identity, err
}

// credited notes who answered.
func (c *caller) credited(pod, client, number string, from *attribution) outcome {
	err := from.set([]byte(pod), []byte(client), []byte(number), c.run.names)
	o := outcome{err: err, over: c.callee.over()}
	if o.over {
		o.lost = c.callee.severed()
	}
	return o
}

// failed tells calls that nobody answered from those that were answered with a status.
func (c *caller) failed(ctx context.Context, err error, trailer metadata.MD, from *attribution) outcome {
	if ctx.Err() != nil {
		return outcome{err: ctx.Err(), over: c.callee.over()}
	}
	if lost, unsent := c.callee.lost(ctx); lost != nil {
		return outcome{err: lost, over: c.callee.over(), unsent: unsent, lost: c.callee.severed()}
	}
	if code := status.Code(err); code == codes.DeadlineExceeded {
		return outcome{err: errNoAnswer, over: c.callee.over()}
	}
	o := outcome{kind: record.ErrStatus, mute: true, over: c.callee.over()}
	if pod := trailer.Get(echo.HeaderPod); len(pod) == 1 {
		client, number := strings.Join(trailer.Get(echo.HeaderClient), ""), strings.Join(trailer.Get(echo.HeaderConnection), "")
		o.err = from.set([]byte(pod[0]), []byte(client), []byte(number), c.run.names)
		o.mute = false
	}
	return o
}

// handshaken are the credentials of connections that had their TLS handshake, or need none, when gRPC gets them.
type handshaken struct{ encrypted bool }

// ClientHandshake implements credentials.TransportCredentials.
func (h handshaken) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, handshakenInfo{h.Info().SecurityProtocol}, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (handshaken) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are the credentials of a client")
}

// Info implements credentials.TransportCredentials.
func (h handshaken) Info() credentials.ProtocolInfo {
	if h.encrypted {
		return credentials.ProtocolInfo{SecurityProtocol: "tls"}
	}
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

// Clone implements credentials.TransportCredentials.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaken) OverrideServerName(string) error { return nil }

type handshakenInfo struct{ protocol string }

// AuthType implements credentials.AuthInfo.
func (i handshakenInfo) AuthType() string { return i.protocol }

// resolveEvery is how often a channel may have its name resolved again, as gRPC's own resolver has it.
const resolveEvery = 30 * time.Second
