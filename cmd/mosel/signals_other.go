//go:build !unix

package main

// ignoreSignals does nothing: these systems have no such signals.
func ignoreSignals() {}
