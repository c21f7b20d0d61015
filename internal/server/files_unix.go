//go:build unix

package server

import "syscall"

// filesMax returns how many files and connections the process may have open, 0 if
// unknown. Go has raised the limit to its maximum.
func filesMax() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // signed on some systems
}
