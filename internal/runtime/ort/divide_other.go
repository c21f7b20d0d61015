//go:build !(linux && amd64)

package ort

// catchDivisions is needed only on Linux on amd64. Other processors raise no signal; on
// amd64 on other systems the signal ends the process, see docs/security.md.
func catchDivisions() {}
