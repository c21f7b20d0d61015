package ort

// #include <signal.h>
//
// static int signalStack(const stack_t *set, stack_t *get) { return sigaltstack(set, get); }
import "C"

import goruntime "runtime"

// keepSignalStack calls body and then gives its thread the signal stack again that it had
// before. OpenVINO replaces the signal stack of the thread that loads its plug-in for
// processors, and frees the new one when the plug-in is unloaded, on whatever thread that
// happens. The next signal to the first thread, which Go's scheduler sends often, would
// end the process.
func keepSignalStack(body func() error) error {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var before C.stack_t
	if C.signalStack(nil, &before) == 0 {
		defer C.signalStack(&before, nil)
	}
	return body()
}
