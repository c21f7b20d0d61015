package sim

import (
	"iter"
	"math/rand/v2"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// Client sends a load to one model.
type Client struct {
	ID      sched.ClientID // for fair sharing in the core
	Load    workload.Load
	Model   int // index into the core's models
	Planner *plan.Planner
	Late    slo.LateRule
	// Confidence is that of the floors.
	Confidence slo.Confidence
	// AllFirst counts deadlines from the time that the job takes on all the modalities
	// it carries: the load's deadlines are slack beyond that.
	AllFirst bool
	// Missing is, by modality, the share of jobs that lack it. A job that would lack
	// all modalities has all.
	Missing []float64
}

// Arrivals merges the loads of the clients in order of time, and numbers the jobs from
// 1. Jobs are drawn as they are read.
func Arrivals(clients []Client) iter.Seq[Arrival] {
	return func(yield func(Arrival) bool) {
		heads := make([]Arrival, len(clients))
		more := make([]bool, len(clients))
		next := make([]func() (Arrival, bool), len(clients))
		for i, c := range clients {
			var stop func()
			next[i], stop = iter.Pull(c.arrivals())
			defer stop()
			heads[i], more[i] = next[i]()
		}
		for id := sched.JobID(1); ; id++ {
			first := -1
			for i := range heads {
				if more[i] && (first < 0 || heads[i].At < heads[first].At) {
					first = i
				}
			}
			if first < 0 {
				return
			}
			a := heads[first]
			a.Job = id
			if !yield(a) {
				return
			}
			heads[first], more[first] = next[first]()
		}
	}
}

func (c Client) arrivals() iter.Seq[Arrival] {
	return func(yield func(Arrival) bool) {
		var all slo.Modalities
		for _, v := range c.Planner.Variants() {
			all |= v.Modalities
		}
		missing := c.Load.Stream(workload.ModalityStream)
		for j := range c.Load.Jobs() {
			a := Arrival{At: slo.Instant(j.At)}
			a.Arrive = sched.Arrive{Client: c.ID, Model: c.Model, Items: j.Items, Present: c.present(missing, all), Sizes: c.Planner.LargestSizes(),
				Objective: slo.Objective{Floor: j.Floor, Confidence: c.Confidence, Deadline: slo.Never, Late: c.Late}}
			switch {
			case c.AllFirst:
				a.Objective.Deadline = a.At.Add(c.allTime(j.Items, a.Present) + j.Deadline)
			case j.Deadline > 0:
				a.Objective.Deadline = a.At.Add(j.Deadline)
			}
			if !yield(a) {
				return
			}
		}
	}
}

func (c Client) allTime(items int, present slo.Modalities) time.Duration {
	return c.Planner.AllTime(items, c.Planner.Runnable(slo.Carried{Present: present, Sizes: c.Planner.LargestSizes()}))
}

func (c Client) present(rng *rand.Rand, all slo.Modalities) slo.Modalities {
	present := all
	for m, share := range c.Missing {
		if rng.Float64() < share {
			present &^= 1 << m
		}
	}
	if present == 0 {
		return all
	}
	return present
}
