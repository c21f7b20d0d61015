//go:build !unix

package server

// filesMax returns 0: the limit is unknown on this system.
func filesMax() uint64 { return 0 }
