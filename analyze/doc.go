// Package analyze turns a record into a report: what the Service's settings predict, what
// happened, whether the difference is chance, and what caused it. It is pure: no network, no
// clock, no file system, and the same record gives the same bytes on every machine.
//
// [Analyze] goes through these steps, one file or two for each:
//
//   - collect.go and stratum.go sort the record into strata, one agent dialling one address of a
//     stream. predict.go says from the facts alone what should become of each: which backends may
//     answer and how likely, or a timeout, or a refusal, and which client address each should see;
//     predict_proxy.go where kube-proxy chooses, predict_direct.go where the client does. assume.go
//     stands in where nothing is known of the target but who answered.
//   - units.go and pairs.go count what was decided once for: connections, or client addresses at a
//     node under session affinity; never requests, unless something chooses for each. They come from
//     the rows or, where rows are missing, from the tallies. Their number per pod follows a law that
//     analyze/skew knows how to test and to simulate.
//   - join.go compares what the clients counted with what the pods counted.
//   - family.go tests every stream, and streams of one target together, within one false-alarm
//     budget for the whole report.
//   - describe.go fills in the figures of each stream, with the range that chance gives them.
//   - judge.go and the find_*.go files draw conclusions. A check looks at one thing and adds a
//     [Finding] with its numbers and remedies. Only what a test rejects, or what the settings
//     exclude, is called a fault; what follows from the settings says so.
//   - check.go holds the report against the scenario's expectations.
//
// Records made up by internal/simulate, where the truth is known, show how often that is wrong.
package analyze
