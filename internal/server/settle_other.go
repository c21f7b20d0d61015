//go:build !linux

package server

// releaseCode needs Linux.
func releaseCode() {}
