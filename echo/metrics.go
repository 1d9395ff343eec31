package echo

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes are answered at a time.
const maxScrapes = 4

// meters are the server's Prometheus metrics, in a registry of their own.
type meters struct {
	pages    http.Handler
	requests *prometheus.CounterVec
	ok       map[string]prometheus.Counter // requests with status 200 by protocol, looked up once
	duration prometheus.Histogram
}

// newMeters registers the metrics of s.
func newMeters(s *Server) *meters {
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podskew_echo_requests_total",
			Help: "Requests answered, by protocol and status; 499 stands for clients that went away first, and 200 for every answer of a protocol without statuses.",
		}, []string{"protocol", "code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "podskew_echo_request_duration_seconds",
			Help:    "Time from the end of a request's header to the end of its answer, delays on request included.",
			Buckets: prometheus.ExponentialBuckets(25e-6, 4, 12), // 25 µs to 105 s
		}),
	}
	m.ok = map[string]prometheus.Counter{}
	for _, protocol := range []string{"HTTP/1.0", "HTTP/1.1", "HTTP/2.0", ProtocolGRPC, ProtocolWebSocket, ProtocolTCP, ProtocolUDP} {
		m.ok[protocol] = m.requests.WithLabelValues(protocol, "200")
	}
	id := s.options.Identity
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		m.requests, m.duration, collectors.NewGoCollector(),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "podskew_echo_info", Help: "Who answers. Always 1.",
			ConstLabels: prometheus.Labels{"pod": id.Pod, "namespace": id.Namespace, "node": id.Node},
		}, func() float64 { return 1 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "podskew_echo_ready", Help: "1 if the server says it is ready.",
		}, func() float64 { return oneIf(s.ready.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "podskew_echo_connections_open", Help: "Connections open now.",
		}, func() float64 { return float64(s.open.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "podskew_echo_connections_accepted_total", Help: "Connections accepted, probes included, and UDP flows.",
		}, func() float64 { return float64(s.accepted.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "podskew_echo_garbage_total", Help: "Datagrams and lines that were not answered because they make no sense.",
		}, func() float64 { return float64(s.garbage.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "podskew_echo_connections_rejected_total", Help: "Connections reset because too many were open.",
		}, func() float64 { return float64(s.turned.Load()) }),
	)
	m.pages = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	return m
}

// observe counts one request.
func (m *meters) observe(protocol string, status int, took time.Duration) {
	m.duration.Observe(took.Seconds())
	if ok := m.ok[protocol]; ok != nil && status == http.StatusOK {
		ok.Inc()
		return
	}
	m.requests.WithLabelValues(protocol, strconv.Itoa(status)).Inc()
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
