package ort

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// The arena may take this part of the memory that the process may have. What would
// not fit fails its run, before the system ends the process.
const arenaNumerator, arenaDenominator = 3, 4

// arenaBytesMax is the bound of the arena, 0: none, where the memory is not known.
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

// controlGroup reads the memory limit of a container, 0: none.
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

// installed reads the machine's memory in Linux' list, 0: not known.
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
