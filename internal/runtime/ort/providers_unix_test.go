//go:build unix

package ort

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// BenchmarkProviders runs the same batches of models/digits on the CPU and on every
// other provider of the library, in turn. It reports the processor's time, all threads
// together, which other programs hardly change.
func BenchmarkProviders(b *testing.B) {
	for _, list := range usable(b) {
		m := digits(b, 32)
		here, there := loadOn(b, m, nil), loadOn(b, m, list)
		for v, variant := range m.Variants {
			for _, n := range []int{1, 32} {
				b.Run(fmt.Sprintf("%s/%s/%d", list[0], variant.Name, n), func(b *testing.B) {
					items := batch(m, n)
					var times [2][]time.Duration
					for b.Loop() {
						for i, in := range []runtime.Instance{here, there} {
							if _, err := in.Run(b.Context(), v, items); err != nil { // the caches are warm then
								b.Fatal(err)
							}
							before := spent(b)
							if _, err := in.Run(b.Context(), v, items); err != nil {
								b.Fatal(err)
							}
							times[i] = append(times[i], spent(b)-before)
						}
					}
					median := func(list []time.Duration) float64 {
						slices.Sort(list)
						return float64(list[len(list)/2].Microseconds()) / 1000
					}
					cpu, other := median(times[0]), median(times[1])
					b.ReportMetric(cpu, "ms-cpu")
					b.ReportMetric(other, "ms-"+string(list[0]))
					b.ReportMetric(other/cpu, "ratio")
				})
			}
		}
	}
}

// loadOn loads a model on providers, for the duration of the benchmark.
func loadOn(b *testing.B, m *modelpkg.Model, list []modelpkg.Provider) runtime.Instance {
	b.Helper()
	rt := open(b)
	if err := rt.Use(list, nil); err != nil {
		b.Fatal(err)
	}
	in, err := rt.Load(b.Context(), m, runtime.Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(in.Close(), rt.Close()); err != nil {
			b.Error(err)
		}
	})
	return in
}

// spent returns the processor's time that the process has used so far.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
