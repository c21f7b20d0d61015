package sim

import (
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Faults are the differences between the simulated machine and the profile. The zero
// value has none. For a wrong profile see Config.True.
type Faults struct {
	// Noise is the largest relative deviation of a batch's time, e.g. 0.1.
	Noise float64
	// Slow is the time of every batch relative to the true profile; 0 means 1.
	Slow float64
	// Slowdowns make instances slow for a while.
	Slowdowns []Slowdown
	// FailShare is the share of batches that fail.
	FailShare float64
	// FailItemShare is the share of the items in batches that run but have no answer.
	FailItemShare float64
	// LoseEvery is the mean time between losses of a random instance; 0: never. The
	// instance comes back after LoseFor.
	LoseEvery, LoseFor time.Duration
	// Outages are losses at given times.
	Outages []Outage
	// Resizes change how many batches instances run at a time.
	Resizes []Resize
	// Replans change what items are expected to score.
	Replans []Replan
}

// Replan lowers the accuracies of a model to at most those given, by variant, or raises
// them again up to those of the model's planner.
type Replan struct {
	At    slo.Instant
	Model int
	Most  []slo.Accuracy
}

// Resize changes the number of an instance's slots.
type Resize struct {
	Instance sched.InstanceID
	At       slo.Instant
	Slots    int
}

// Slowdown makes an instance slow for a while.
type Slowdown struct {
	Instance  sched.InstanceID
	Factor    float64
	From, Til slo.Instant
}

// Outage takes an instance down for a while.
type Outage struct {
	Instance sched.InstanceID
	At       slo.Instant
	For      time.Duration
}

// draws are the random streams of the faults, one for each purpose. So the n-th batch
// gets the same noise whether batches fail or not.
type draws struct{ noise, failure, loss, item, gate *rand.Rand }

func newDraws(seed uint64) draws {
	stream := func(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x6d6f73656c<<8+purpose)) }
	return draws{noise: stream(1), failure: stream(2), loss: stream(3), item: stream(4), gate: stream(5)}
}

// verdicts draws which items of a batch have no answer, and which go on, by the shares
// of its gates. Nil: all items are answered.
func (d *draws) verdicts(f *Faults, b *record.Batch, p *plan.Planner) []sched.Verdict {
	if f.FailItemShare == 0 && b.Routes == nil {
		return nil
	}
	list := make([]sched.Verdict, 0, b.Items)
	for i, part := range b.Parts {
		var gate []plan.Branch
		if b.Routes != nil {
			gate = p.Routes()[b.Routes[i]].Next
		}
		for range part.Count {
			verdict := d.pass(gate)
			if f.FailItemShare > 0 && d.item.Float64() < f.FailItemShare {
				verdict = sched.Fail
			}
			list = append(list, verdict)
		}
	}
	return list
}

// pass draws a gate's verdict on an item.
func (d *draws) pass(gate []plan.Branch) sched.Verdict {
	if gate == nil {
		return sched.Accept
	}
	x := d.gate.Float64()
	for _, branch := range gate {
		if x < branch.Share {
			return sched.Next(branch.Route)
		}
		x -= branch.Share
	}
	return sched.Accept
}

// batch returns the time of a batch that should take nominal, and whether it fails.
func (d *draws) batch(f *Faults, nominal time.Duration, instance sched.InstanceID, now slo.Instant) (time.Duration, bool) {
	factor := 1 + f.Noise*(2*d.noise.Float64()-1)
	if f.Slow != 0 {
		factor *= f.Slow
	}
	for _, s := range f.Slowdowns {
		if s.Instance == instance && now >= s.From && now < s.Til {
			factor *= s.Factor
		}
	}
	return max(1, time.Duration(float64(nominal)*factor)), d.failure.Float64() < f.FailShare
}

// scheduleLoss draws the next random loss.
func (r *run) scheduleLoss() {
	f := &r.cfg.Faults
	if f.LoseEvery > 0 {
		gap := time.Duration(r.draw.loss.ExpFloat64() * float64(f.LoseEvery))
		r.push(event{at: r.now.Add(max(1, gap)), what: sched.InstanceDown{Instance: sched.InstanceID(r.draw.loss.IntN(len(r.cfg.Instances)))},
			away: f.LoseFor, random: true})
	}
}
