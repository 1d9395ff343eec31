package echo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/podskew/podskew/echo/echopb"
)

// maxGRPCMessage is how large a gRPC request may be, in bytes.
const maxGRPCMessage = 4 << 10

// isGRPC reports whether r is a call of a gRPC method.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// newGRPC returns the gRPC server, which works inside the HTTP server: so one port has both, and connections are
// numbered, limited and drained in one way.
func newGRPC(s *Server) *grpc.Server {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxGRPCMessage))
	echopb.RegisterEchoServer(server, &grpcEcho{server: s})
	healthpb.RegisterHealthServer(server, &grpcHealth{server: s})
	return server
}

// callKey is where a call's context holds what governs its HTTP stream, a *callControl.
type callKey struct{}

// callControl sets the deadline of a call's HTTP stream. The goroutine that gRPC serves a call on may outlive the stream,
// which must be left alone then.
type callControl struct {
	mu      sync.Mutex
	control *http.ResponseController // nil: the stream is over
}

func (c *callControl) setReadDeadline(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.control != nil {
		_ = c.control.SetReadDeadline(at)
	}
}

func (c *callControl) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.control = nil
}

// serveGRPC hands a request to the gRPC server.
func (s *Server) serveGRPC(w http.ResponseWriter, r *http.Request) {
	call := &callControl{control: http.NewResponseController(w)}
	defer call.end()
	_ = call.control.SetWriteDeadline(time.Time{}) // a stream lasts as long as it is used
	s.grpc.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, call)))
}

// grpcEcho implements the echo service.
type grpcEcho struct {
	echopb.UnimplementedEchoServer
	server *Server
}

// Who implements echopb.EchoServer.
func (g *grpcEcho) Who(ctx context.Context, request *echopb.WhoRequest) (*echopb.Identity, error) {
	identity, err := g.server.answerGRPC(ctx, request)
	switch {
	case err == nil:
		_ = grpc.SetHeader(ctx, attributionOf(identity))
	case identity != nil: // a status that was wished for is an answer, too
		_ = grpc.SetTrailer(ctx, attributionOf(identity))
		identity = nil
	}
	return identity, err
}

// Converse implements echopb.EchoServer.
func (g *grpcEcho) Converse(stream grpc.BidiStreamingServer[echopb.WhoRequest, echopb.Identity]) error {
	call, ok := stream.Context().Value(callKey{}).(*callControl)
	if !ok {
		return status.Error(codes.Internal, "the call did not come through HTTP")
	}
	defer context.AfterFunc(g.server.draining, func() { call.setReadDeadline(time.Unix(1, 0)) })()
	for first := true; ; first = false {
		call.setReadDeadline(time.Now().Add(g.server.options.IdleTimeout))
		if g.server.draining.Err() != nil { // it may have begun just before the deadline was set
			return status.Error(codes.Unavailable, "stopping")
		}
		request, err := stream.Recv()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case g.server.draining.Err() != nil:
			return status.Error(codes.Unavailable, "stopping")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return status.Error(codes.Aborted, "idle for too long")
		default:
			return err
		}
		identity, err := g.server.answerGRPC(stream.Context(), request)
		if err != nil {
			if identity != nil {
				stream.SetTrailer(attributionOf(identity))
			}
			return err
		}
		if first {
			_ = stream.SetHeader(attributionOf(identity))
		}
		if err := stream.Send(identity); err != nil {
			return err
		}
	}
}

// answerGRPC counts one message and says who answers, also with the error that was wished for.
func (s *Server) answerGRPC(ctx context.Context, request *echopb.WhoRequest) (*echopb.Identity, error) {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		c = &connection{number: 1}
	}
	began := time.Now()
	number := c.requests.Add(1)
	s.countRequest(c, ProtocolGRPC)
	wish, err := parseWishes(request.GetQuery())
	if err != nil {
		s.meters.observe(ProtocolGRPC, http.StatusBadRequest, time.Since(began))
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if !s.grant(ctx, &wish) {
		s.meters.observe(ProtocolGRPC, statusAborted, time.Since(began))
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	identity := c.identity(s.face.Load().identity)
	identity.Request, identity.RequestId = number, s.requestID([]string{request.GetRequestId()}, c.number, number)
	took := time.Since(began)
	s.meters.observe(ProtocolGRPC, wish.status, took)
	s.logRequest(c, ProtocolGRPC, number, identity.GetRequestId(), took)
	if wish.status >= http.StatusBadRequest {
		return identity, status.Error(codes.Unavailable, "status "+strconv.Itoa(wish.status)+", as wished for")
	}
	return identity, nil
}

// identity is the part of an answer that is the same for all requests on c.
func (c *connection) identity(id Identity) *echopb.Identity {
	return &echopb.Identity{
		Pod: id.Pod, Namespace: id.Namespace, PodIp: id.PodIP, PodUid: id.PodUID, Node: id.Node, HostIp: id.HostIP,
		Zone: id.Zone, ServiceAccount: id.ServiceAccount, Client: c.remote, ProxyProtocol: c.proxied,
		Connection: c.number, Tls: c.tls, Unknown: id.Unknown,
	}
}

// attributionOf are the headers that every HTTP reply carries, as metadata.
func attributionOf(id *echopb.Identity) metadata.MD {
	pairs := []string{
		HeaderPod, id.GetPod(), HeaderNode, id.GetNode(), HeaderClient, id.GetClient(),
		HeaderConnection, strconv.FormatUint(id.GetConnection(), 10), HeaderRequest, strconv.FormatUint(id.GetRequest(), 10),
		HeaderRequestID, id.GetRequestId(),
	}
	if zone := id.GetZone(); zone != "" {
		pairs = append(pairs, HeaderZone, zone)
	}
	return metadata.Pairs(pairs...)
}

// grpcHealth implements the standard health service, the way readiness probes ask.
type grpcHealth struct {
	healthpb.UnimplementedHealthServer
	server *Server
}

// Check implements healthpb.HealthServer.
func (g *grpcHealth) Check(_ context.Context, request *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	switch request.GetService() {
	case "", echopb.Echo_ServiceDesc.ServiceName:
	default:
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	answer := healthpb.HealthCheckResponse_NOT_SERVING
	if g.server.ready.Load() && !g.server.stopping.Load() {
		answer = healthpb.HealthCheckResponse_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: answer}, nil
}
