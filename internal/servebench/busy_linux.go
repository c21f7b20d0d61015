package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// busyTime returns the processor time of all processes of the machine together, to a
// hundredth of a second; 0 if the system does not report it.
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

// waitedTime returns the total time in which threads of this process were ready to run
// and waited for a core. Ended threads are not counted.
func waitedTime() (sum time.Duration) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat") // the pattern is valid
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		// Nanoseconds on a core, nanoseconds of waiting for one, turns.
		if fields := bytes.Fields(text); len(fields) == 3 {
			waited, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			sum += time.Duration(waited)
		}
	}
	return sum
}
