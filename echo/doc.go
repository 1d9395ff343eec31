// Package echo is the server that says who answered. Every reply names the pod, its node and zone, and the address,
// connection and request number the pod saw, so that a client can attribute each request to a backend and each
// connection to what kube-proxy made of it.
//
// The package reads no environment, flags or clock of the process by itself: [ReadIdentity] is given a lookup function and
// paths, [New] a struct of options, and [Server.Run] a context whose end is the signal to stop.
package echo
