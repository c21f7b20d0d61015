//go:build linux || darwin

package doctor

import "syscall"

// FilesMax returns how many files and connections the process may have open; 0: not
// known. Go has raised the limit to its maximum.
func FilesMax() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// Free returns the space that this user can write to the disk of a path.
func Free(path string) (bytes uint64, err error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(path, &disk); err != nil {
		return 0, err
	}
	return disk.Bavail * uint64(disk.Bsize), nil
}
