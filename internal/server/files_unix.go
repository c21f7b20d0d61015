//go:build unix

package server

import "syscall"

// filesMax is how many files and connections the process may have open, 0 where
// that is not known. Go has raised it to the highest that it may be.
func filesMax() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
