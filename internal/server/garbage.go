package server

import (
	"os"
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// garbageBytes is how much garbage may gather between two runs of Go's collector, beside
// as much as there is live memory. By itself the collector runs when the heap has doubled,
// and between requests a server has a few megabytes: at 15,000 requests per second that
// was nine runs per second, for some milliseconds each, which delay requests.
const garbageBytes = 128 << 20

// collector decides, after each run of Go's collector, when the next one is due, while a
// server of the process runs. Unused memory of that size would have the same effect, but
// Go clears such memory in some starts, and then it is used.
var collector struct {
	mu      sync.Mutex
	servers int
	before  int // what was set when there was no server
	percent int // what is set now
}

// collectSeldom begins for a server, unless the environment says when to collect. end is
// called when the server has ended.
func collectSeldom() (end func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	c := &collector
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers++; c.servers == 1 {
		c.percent = percentFor(liveBytes())
		c.before = debug.SetGCPercent(c.percent)
		again()
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.servers--; c.servers == 0 {
			debug.SetGCPercent(c.before)
		}
	})
}

// again has collected called after the next collection, which finds that nothing refers to
// the mark.
func again() {
	mark := new(*int)
	goruntime.AddCleanup(mark, func(struct{}) { collected() }, struct{}{})
}

// collected is called after each collection.
func collected() {
	c := &collector
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers == 0 {
		return
	}
	// Setting it stops everything for a moment, so small changes are left out.
	if percent := percentFor(liveBytes()); percent > c.percent+c.percent/8 || percent < c.percent-c.percent/8 {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
	again()
}

// liveBytes is what the last collection has found in use, and what counts as such.
func liveBytes() (live uint64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			live += s.Value.Uint64()
		}
	}
	return live
}

// percentFor is the growth of live memory, in percent, after which a collection is due.
func percentFor(live uint64) int {
	return 100 + int(100*garbageBytes/max(live, 1<<20)) // in a young process there is little
}
