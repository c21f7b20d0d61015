package ort

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// The arena may use this fraction of the process's memory limit. A run that needs more
// fails, before the system kills the process.
const arenaNumerator, arenaDenominator = 3, 4

// arenaBytesMax returns the bound of the arena; 0 (no bound) if the memory limit is
// unknown.
func arenaBytesMax() int {
	memory := 0
	for _, n := range []int{
		controlGroup("/sys/fs/cgroup/memory.max"),
		controlGroup("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
		installed("/proc/meminfo"),
	} {
		if n > 0 && (memory == 0 || n < memory) {
			memory = n
		}
	}
	return memory / arenaDenominator * arenaNumerator
}

// controlGroup reads the memory limit of a container; 0: none.
func controlGroup(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil { // "max"
		return 0
	}
	return n
}

// installed reads the machine's memory from Linux's /proc/meminfo; 0: unknown.
func installed(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
