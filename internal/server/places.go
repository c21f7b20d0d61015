package server

import "github.com/mosel-serve/mosel/internal/slo"

const (
	// filesReserved are the file descriptors that connections leave alone: the log,
	// listeners, the runtime, packages that are looked at while others load, traces.
	filesReserved = 64
	// filesPerModel are further ones for each package: its files are read anew, and
	// a runtime may keep some of them open.
	filesPerModel = 4
	// metricsPlaces are the connections of the metrics' listener. Few programs ask
	// for metrics and health, and they must get in however many clients there are:
	// so it has places of its own, beyond the bound of the others.
	metricsPlaces = 64
)

// places is how many connections each of the listeners for clients may have, of
// the want that are configured: what the system's limit on open files (0: not known)
// leaves beside all else that needs files.
func places(limit uint64, want, listeners, models int) (int, error) {
	if limit == 0 || limit > 1<<30 {
		return want, nil
	}
	left := int(limit) - filesReserved - filesPerModel*models - metricsPlaces
	room := left / max(1, listeners)
	if room < 1 {
		return 0, slo.E("bound connections", slo.KindInvalid,
			"the system lets this process have %d files open, and %d are needed before the first connection: raise the limit (ulimit -n, LimitNOFILE)",
			limit, filesReserved+filesPerModel*models+metricsPlaces+listeners)
	}
	return min(want, room), nil
}
