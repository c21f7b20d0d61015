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

// TimeOf returns how long a run on an instance takes, and how long without the time in
// which its thread waited for a core. If the instance does not compute on the caller's
// thread, the two are the same.
func TimeOf(in Instance, run func() error) (whole, own time.Duration, err error) {
	if !OnCaller(in) {
		began := time.Now()
		err := run()
		whole := time.Since(began)
		return whole, whole, err
	}
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	before, began := Waited(), time.Now()
	err = run()
	whole = time.Since(began)
	return whole, max(whole-(Waited()-before), time.Microsecond), err
}
