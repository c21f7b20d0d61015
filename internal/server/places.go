package server

import "github.com/mosel-serve/mosel/internal/slo"

const (
	// filesReserved are file descriptors for other uses than connections: the log,
	// listeners, the runtime, packages that are looked at while others load, traces.
	filesReserved = 64
	// filesPerModel are file descriptors for each package: its files are read again, and
	// a runtime may keep some of them open.
	filesPerModel = 4
	// metricsPlaces are the connections of the metrics' listener. They do not count
	// towards the bound on the others, so that metrics and health are answered
	// however many clients there are.
	metricsPlaces = 64
)

// places is how many connections each listener for clients may have: want, or fewer if
// the system's limit on open files (0: not known) leaves fewer beside other uses.
func places(limit uint64, want, listeners, models int) (int, error) {
	if limit == 0 || limit > 1<<30 {
		return want, nil
	}
	left := int(limit) - filesReserved - filesPerModel*models - metricsPlaces
	room := left / max(1, listeners)
	if room < 1 {
		return 0, slo.E("bound connections", slo.KindInvalid,
			"the limit on open files is %d, and the server needs %d for its first connection: raise the limit (ulimit -n, LimitNOFILE)",
			limit, filesReserved+filesPerModel*models+metricsPlaces+listeners)
	}
	return min(want, room), nil
}
