package runtime

import (
	goruntime "runtime"
	"time"
)

// Near is an instance that may compute on the thread that calls Run, and on no other.
type Near interface {
	// OnCaller reports whether it does.
	OnCaller() bool
}

// OnCaller reports whether an instance computes on the thread that calls Run.
func OnCaller(in Instance) bool {
	near, ok := in.(Near)
	return ok && near.OnCaller()
}

// TimeOf returns how long a run on an instance takes. If it computes on the caller's
// thread, time in which that waited for a core does not count: other programs use the
// processor while a server starts, and not always when it serves.
func TimeOf(in Instance, run func() error) (time.Duration, error) {
	if !OnCaller(in) {
		began := time.Now()
		err := run()
		return time.Since(began), err
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	before, began := Waited(), time.Now()
	err := run()
	took := time.Since(began)
	return max(took-(Waited()-before), time.Microsecond), err
}
