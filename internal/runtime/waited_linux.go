package runtime

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Waited returns how long the calling thread was ready to run and had no core so far; 0
// if the system does not say.
func Waited() time.Duration {
	text, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text)) // running, waiting, both in nanoseconds, and turns
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n)
}
