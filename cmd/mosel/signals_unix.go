//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreSignals ignores those that would end a server for a write that fails: a log
// that is closed, a limit on the size of files. The write's error tells it.
func ignoreSignals() { signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) }
