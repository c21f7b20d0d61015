package main

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// busyTime is the processor time that all processes of the machine have used
// together, to a hundredth of a second; 0 where the system does not tell.
func busyTime() time.Duration {
	const (
		tick   = 10 * time.Millisecond
		idle   = 4 // fields of the first line, which begins with the word cpu
		iowait = 5
		last   = 7 // guests are counted as users, too
	)
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	var ticks int64
	for i, field := range bytes.Fields(line) {
		if n, err := strconv.ParseInt(string(field), 10, 64); err == nil && i != idle && i != iowait && i <= last {
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}
