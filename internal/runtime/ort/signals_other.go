//go:build !linux

package ort

// keepSignalStack calls body. Only on Linux does a library replace the signal stack.
func keepSignalStack(body func() error) error { return body() }
