package sched

import (
	"math"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// budget is the time the instances may spend on accuracy beyond what floors
// ask. It grows with the time that the recent load, run as cheaply as its
// floors allow, would leave idle, and is spent by batches that run on a more
// accurate variant than planned.
type budget struct {
	at     slo.Instant
	left   float64 // nanoseconds of instance time
	demand float64 // recent load at its cheapest: nanoseconds of work per nanosecond
}

const (
	// demandWindow is how far back the load is averaged: long enough for tens
	// of batches, short enough to follow a burst within a deadline or two.
	demandWindow = 500 * time.Millisecond
	// loadMax is the utilisation up to which time is spent on accuracy. Beyond
	// it queues grow faster than accuracy.
	loadMax = 0.85
	// budgetMax bounds what an idle time saves up, in time per instance.
	budgetMax = 100 * time.Millisecond
)

// advance lets time pass for so many instances.
func (b *budget) advance(now slo.Instant, instances int) {
	elapsed := float64(now - b.at)
	if elapsed <= 0 {
		return
	}
	b.at = now
	b.demand *= math.Exp(-elapsed / float64(demandWindow))
	spare := loadMax*float64(instances) - b.demand
	b.left = min(b.left+elapsed*max(0, spare), float64(budgetMax)*float64(instances))
}

// arrive counts work that has come in.
func (b *budget) arrive(work time.Duration) {
	b.demand += float64(work) / float64(demandWindow)
}

// spend takes the extra time of an upgraded batch.
func (b *budget) spend(extra time.Duration) { b.left -= float64(extra) }

// room is what may be spent now.
func (b *budget) room() time.Duration { return time.Duration(max(0, b.left)) }
