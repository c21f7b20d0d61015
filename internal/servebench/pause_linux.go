package main

import (
	"syscall"
	"time"
)

// pause waits in the kernel, on the calling thread: Go's timers are only good to
// a millisecond while nothing else happens. A signal may end it early.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&t, nil)
}
