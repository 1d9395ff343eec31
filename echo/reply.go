package echo

// Headers that every reply carries besides its body. A load generator that only needs the attribution reads these and
// skips the JSON.
const (
	// HeaderPod names the pod that answered; "unknown" when the pod was not told its name.
	HeaderPod = "X-Podskew-Pod"
	// HeaderNode names the node that pod runs on; "unknown" when the pod was not told.
	HeaderNode = "X-Podskew-Node"
	// HeaderZone is the node's topology zone. It is left out when the pod does not know it.
	HeaderZone = "X-Podskew-Zone"
	// HeaderClient is the transport peer the pod saw, as address:port (IPv6 in brackets): after any SNAT on the way,
	// or the source a PROXY protocol preamble named when the server was told to believe those.
	HeaderClient = "X-Podskew-Client"
	// HeaderConnection numbers the connection among those this server process accepted: decimal, from 1.
	HeaderConnection = "X-Podskew-Connection"
	// HeaderRequest numbers the request on its connection: decimal, from 1. A client that sees 1 twice on what it
	// believes to be one connection was reconnected behind its back.
	HeaderRequest = "X-Podskew-Request"
	// HeaderRequestID repeats the request's own X-Request-Id, or carries one that the server made up.
	HeaderRequestID = "X-Request-Id"
	// HeaderDetail asks, in a request, for the next three in the reply: they matter only where a proxy is on the way.
	HeaderDetail = "X-Podskew-Detail"
	// HeaderPodIP is status.podIP; left out when the pod was not told.
	HeaderPodIP = "X-Podskew-Pod-Ip"
	// HeaderForwarded repeats the addresses of X-Forwarded-For, separated by commas; left out without any.
	HeaderForwarded = "X-Podskew-Forwarded-For"
	// HeaderProxied is the source that a PROXY protocol preamble named, as address:port; left out without one.
	HeaderProxied = "X-Podskew-Proxied"
	// HeaderToken is what a request must carry to change the server's state (flipping readiness).
	HeaderToken = "X-Podskew-Token" //nolint:gosec // the name of a header, not what is in it
)

// Names of the protocols besides HTTP, as they stand in a [Reply] and in [Stats].
const (
	ProtocolGRPC      = "gRPC"
	ProtocolWebSocket = "WebSocket"
	ProtocolTCP       = "TCP"
	ProtocolUDP       = "UDP"
)

// Unknown stands for an identity field that the pod was not told, or was told something malformed.
const Unknown = "unknown"

// Reply is the JSON body of an answer. Fields without a value are "" (or [Unknown] where said); none is left out, so that
// a reader can tell "empty" from "an older server".
type Reply struct {
	// Pod is metadata.name of the pod that answered, or [Unknown].
	Pod string `json:"pod"`
	// Namespace is metadata.namespace, or [Unknown].
	Namespace string `json:"namespace"`
	// PodIP is status.podIP without a port, or [Unknown]. Pods on the host's network have the node's address.
	PodIP string `json:"podIP"`
	// PodUID is metadata.uid, or [Unknown].
	PodUID string `json:"podUID"`
	// Node is spec.nodeName, or [Unknown].
	Node string `json:"node"`
	// HostIP is status.hostIP, or [Unknown].
	HostIP string `json:"hostIP"`
	// Zone is the topology zone, or "" when there is none to know.
	Zone string `json:"zone"`
	// ServiceAccount is spec.serviceAccountName, or [Unknown].
	ServiceAccount string `json:"serviceAccount"`
	// Resources are the container's requests and limits.
	Resources Resources `json:"resources"`
	// Client is the peer the pod saw.
	Client Client `json:"client"`
	// ForwardedFor lists the addresses of the X-Forwarded-For headers, client first, exactly as they were sent (anyone
	// can send them). Empty, never null, when there are none.
	ForwardedFor []string `json:"forwardedFor"`
	// ProxyProtocol is the source that a PROXY protocol preamble named, as address:port; "" without one. When it is set,
	// Client is that source, too.
	ProxyProtocol string `json:"proxyProtocol"`
	// TLS says whether the connection is encrypted.
	TLS bool `json:"tls"`
	// Connection is the number of the connection in this server process, from 1.
	Connection uint64 `json:"connection"`
	// Request is the number of the request on its connection, from 1.
	Request uint64 `json:"request"`
	// RequestID is the value of [HeaderRequestID] in the reply.
	RequestID string `json:"requestID"`
	// Traceparent is the request's W3C trace context header if it was well-formed, else "".
	Traceparent string `json:"traceparent"`
	// Protocol is "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", [ProtocolWebSocket], [ProtocolTCP] or [ProtocolUDP].
	Protocol string `json:"protocol"`
	// Host is the request's Host header or :authority; "" for TCP and UDP.
	Host string `json:"host"`
	// Method is the request's method; "" for TCP and UDP.
	Method string `json:"method"`
	// Path is the request's path without the query, decoded; "" for TCP and UDP.
	Path string `json:"path"`
	// Unknown lists the identity fields that were missing or malformed, by their JSON names (resources as
	// "resources.limits.cpu"), sorted. Empty, never null, when the pod knows all about itself.
	Unknown []string `json:"unknown"`
}

// Resources are a container's limits and requests as the Downward API renders them.
type Resources struct {
	// Limits are what the container may use. Where the pod sets none, the Downward API reports what its node can give.
	Limits Amounts `json:"limits"`
	// Requests are what the scheduler set aside for the container.
	Requests Amounts `json:"requests"`
}

// Amounts are one amount of CPU and one of memory.
type Amounts struct {
	// CPU is in units of the divisor that the pod's resourceFieldRef chose: cores, rounded up, without one; millicores
	// under "1m". [Unknown] when the pod was not told.
	CPU string `json:"cpu"`
	// Memory is in units of its divisor: bytes without one. [Unknown] when the pod was not told.
	Memory string `json:"memory"`
}

// Client is the transport peer of a connection.
type Client struct {
	// Address is the peer's IP address without a port or brackets.
	Address string `json:"address"`
	// Port is the peer's port, 1 to 65535; 0 if the transport has no ports.
	Port uint16 `json:"port"`
}
