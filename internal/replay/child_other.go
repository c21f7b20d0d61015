//go:build !linux

package replay

import "syscall"

// childAttributes are none: only Linux can tie a child's life to its parent's.
// Ctrl-C reaches the child through the terminal.
func childAttributes() *syscall.SysProcAttr { return nil }
