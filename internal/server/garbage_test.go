package server

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestCollectSeldom has two servers share one setting, which follows live memory and ends
// with the last of them.
func TestCollectSeldom(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	read := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	before := read()
	first := collectSeldom()
	second := collectSeldom()
	if percent := read(); percent < 1000 {
		t.Errorf("with little live memory a collection is due after %d %%", percent)
	}
	live := make([]byte, 256<<20)
	for deadline := time.Now().Add(10 * time.Second); read() > 200; {
		runtime.GC()
		if time.Now().After(deadline) {
			t.Fatalf("with 256 MiB live, a collection is due after %d %%", read())
		}
	}
	runtime.KeepAlive(live)
	first()
	first()
	if percent := read(); percent == before {
		t.Error("it ends with the first server")
	}
	second()
	if percent := read(); percent != before {
		t.Errorf("afterwards %d %%, before %d %%", percent, before)
	}
	t.Setenv("GOGC", "50")
	if collectSeldom()(); read() != before {
		t.Error("it does not heed GOGC")
	}
}
