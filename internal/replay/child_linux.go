package replay

import "syscall"

// childAttributes make a child die with this process and keep the terminal's
// ctrl-C from it: the run that uses it stops it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
