package server

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releaseCode gives the mapped pages of programs and libraries back, of which a start reads
// many that serving does not: the system maps those that are used again from its cache.
// Only mappings are given back that cannot be written and have no changed pages, so
// nothing can be lost.
func releaseCode() {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer file.Close()
	var begin, end uint64
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":"):
			if begin, end = 0, 0; len(fields) >= 6 && strings.HasPrefix(fields[5], "/") && (fields[1] == "r-xp" || fields[1] == "r--p") {
				begin, end = addresses(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && end > begin:
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(begin), uintptr(end-begin), syscall.MADV_DONTNEED) // an error means that they stay
		}
	}
}

// addresses reads a range of addresses, begin-end in hexadecimal; nothing if it is none.
func addresses(text string) (begin, end uint64) {
	from, to, _ := strings.Cut(text, "-")
	begin, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return 0, 0
	}
	if end, err = strconv.ParseUint(to, 16, 64); err != nil {
		return 0, 0
	}
	return begin, end
}
