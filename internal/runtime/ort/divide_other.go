//go:build !(linux && amd64)

package ort

// catchDivisions is for Linux on amd64. Processors of other kinds raise no signal; on
// amd64 under other systems one ends the process, see docs/security.md.
func catchDivisions() {}
