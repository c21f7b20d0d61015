package profiler

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
)

// scout loads one variant alone and runs every batch size once, smallest first. This
// shows how much memory a batch adds to the loaded model, and roughly how long the rest
// will take. A variant that cannot run fails here, early.
func (r *run) scout(variant int) error {
	rt, err := r.open(r.ctx)
	if err != nil {
		return err
	}
	defer rt.Close()
	instance, err := rt.Load(r.ctx, r.m, runtime.Options{Threads: r.o.Threads, Variants: []int{variant}})
	if err != nil {
		return err
	}
	defer instance.Close()
	debug.FreeOSMemory() // memory left over from loading does not belong to the batches
	loaded := residentBytes("VmRSS:")
	for b := range r.o.Batches {
		if r.o.Timed != nil && b < len(r.o.Batches)-1 {
			continue // only accuracy is wanted; it runs the largest batch
		}
		peak := "VmRSS:" // if the peak cannot be reset, only the current size can be read
		if resetPeak() {
			peak = "VmHWM:"
		}
		took, err := r.once(instance, variant, b, 0)
		if err != nil {
			return r.explained(variant, batchFails(r.o.Batches[b], err))
		}
		used := residentBytes(peak)
		r.timings[variant][b] = timing{first: max(took, time.Microsecond), memory: max(0, used-loaded)}
	}
	return nil
}

// resetPeak resets the maximum of resident memory. Linux only; a container may forbid
// it.
func resetPeak() bool {
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil
}

// residentBytes reads a field of /proc/self/status, 0 if there is none.
func residentBytes(field string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
