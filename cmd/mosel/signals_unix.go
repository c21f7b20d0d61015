//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreSignals ignores the signals that would end a server when a write fails:
// SIGPIPE (the log is closed) and SIGXFSZ (a file is too large). The write returns an
// error instead.
func ignoreSignals() { signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) }
