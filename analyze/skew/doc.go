// Package skew holds the statistics of choices among backends: how uneven a
// distribution is, what chance alone does to it, and whether the choices follow
// the shares they should.
//
// The unit of everything here is one independent choice of one backend, which for
// a Kubernetes Service is a connection, or a client address under session
// affinity: never a request, because the requests on one connection are not
// independent of each other. Requests enter only as the load a unit carries.
//
// A [Law] says what should happen: groups of units, each with its own
// probabilities over the same backends. From it come the test of observed counts
// ([Law.Test]), the range of every metric that chance explains ([Law.Chance]) and,
// with equal probabilities, how many units it takes to see a given skew
// ([Need]) or to keep the busiest backend below a given multiple of the mean
// ([UnitsForMax]).
//
// Every simulation takes a [Seed]; equal inputs give equal results to the last
// digit. Callers that want results independent of how backends are named put them
// into the order [Order] returns first.
package skew
