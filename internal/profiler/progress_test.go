package profiler

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestNoEstimateWithoutEvidence reports batches of a profile that begins slowly.
func TestNoEstimateWithoutEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Progress
		r := &run{o: Options{Progress: func(p Progress) { last = p }}}
		m := &meter{total: time.Hour, start: time.Now()}
		for _, c := range []struct {
			takes, counts, left time.Duration
		}{
			{30 * time.Second, time.Second, 0},                  // a thirtieth of what it should: 30 hours
			{time.Second, 16 * time.Second, 0},                  // 0.47 %
			{time.Second, 19 * time.Second, 3168 * time.Second}, // 1 % after 32 s
		} {
			time.Sleep(c.takes)
			if m.advance(r, "latency", c.counts); last.Left != c.left {
				t.Errorf("%v left at %.2f %%, want %v", last.Left, 100*m.share, c.left)
			}
		}
		m = &meter{total: time.Minute, start: time.Now()}
		time.Sleep(time.Second)
		if m.advance(r, "latency", 10*time.Second); last.Left != 0 {
			t.Errorf("%v left after a second", last.Left)
		}
	})
}
