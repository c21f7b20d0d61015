package engine

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TestAllowance: what is taken stays below the share of the time that has passed, apart
// from what may be saved up.
func TestAllowance(t *testing.T) {
	const instances, each = 2, 15 * time.Millisecond
	var a allowance
	var taken time.Duration
	for now := slo.Instant(0); now < slo.Instant(time.Minute); now = now.Add(time.Millisecond) {
		if a.take(now, each, instances) {
			taken += each
		}
	}
	most := time.Duration(recoveryShare * float64(time.Minute) * instances)
	if taken > most || taken < most-recoveryAheadMax {
		t.Errorf("%v taken in a minute of %d instances, want %v", taken, instances, most)
	}
	if late := slo.Instant(time.Hour); !a.take(late, recoveryAheadMax, instances) || a.take(late, each, instances) {
		t.Error("more is saved up than may be")
	}
}
