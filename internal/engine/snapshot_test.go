package engine

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
)

// BenchmarkSnapshot measures a snapshot of that many unfinished jobs, in the goroutine
// that owns the core.
func BenchmarkSnapshot(b *testing.B) {
	const jobs = 10_000
	l := &loop{engine: &Engine{epoch: time.Now()}, calls: map[sched.JobID]*call{}}
	for id := range sched.JobID(jobs) {
		l.calls[id] = &call{event: sched.Arrive{Job: id, Items: 1}, left: 1}
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := l.snapshot(); len(s.Jobs) != jobs {
			b.Fatal(len(s.Jobs))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/jobs, "ns/job")
}
