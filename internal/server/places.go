package server

import (
	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// filesReserved are file descriptors for other uses than connections: the log,
	// listeners, the runtime, packages that are looked at while others load, traces.
	filesReserved = 64
	// filesPerModel are file descriptors for each package: its files are read again, and
	// a runtime may keep some of them open.
	filesPerModel = 4
	// filesPerWorker are those of a separate process that runs a model's graphs: its
	// socket, its output, and what the system keeps for waiting for its end.
	filesPerWorker = 3
	// metricsPlaces are the connections of the metrics' listener. They do not count
	// towards the bound on the others, so that metrics and health are answered
	// however many clients there are.
	metricsPlaces = 64
)

// filesOf is how many file descriptors packages need, beside those that are reserved:
// each instance of an isolated model is a process, and each request to another server,
// of which there are as many as slots, needs a connection over REST; over gRPC they share
// one.
func filesOf(packages []engine.Served, instances int) int {
	n := 0
	for _, p := range packages {
		n += filesPerModel
		if p.Model.Isolation == modelpkg.IsolationProcess {
			n += instances * filesPerWorker
		}
		for v := range p.Model.Variants {
			for _, r := range p.Model.RemotesOf(v) {
				if r != nil && r.GRPC() {
					n++
				} else if r != nil {
					n += r.Slots + 1 // and one to ask whether it is ready
				}
			}
		}
	}
	return n
}

// places is how many connections each listener for clients may have: want, or fewer if
// the system's limit on open files (0: not known) leaves fewer beside other uses. files are those that packages need.
func places(limit uint64, want, listeners, files int) (int, error) {
	if limit == 0 || limit > 1<<30 {
		return want, nil
	}
	left := int(limit) - filesReserved - files - metricsPlaces
	room := left / max(1, listeners)
	if room < 1 {
		return 0, slo.E("bound connections", slo.KindInvalid,
			"the limit on open files is %d, and the server needs %d for its first connection: raise the limit (ulimit -n, LimitNOFILE)",
			limit, filesReserved+files+metricsPlaces+listeners)
	}
	return min(want, room), nil
}
