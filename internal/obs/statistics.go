package obs

import (
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Statistics are what the statistics extension of the Open Inference Protocol
// tells of a model, since it was loaded. Requests are jobs, inferences items.
type Statistics struct {
	Inferences    int       // items of jobs that ran to their end
	Executions    int       // batches that ended
	LastInference time.Time // zero: none yet

	Success Tally // jobs that ran: their whole time
	Fail    Tally // jobs that did not: shed, infeasible, cancelled, failed
	Queue   Tally // jobs that ran: until their first batch
	Compute Tally // jobs that ran: in their batches

	Batches []Executions // by size, ascending

	last slo.Instant // of a batch that ended
	size []Executions
}

// Tally is a number of times and their sum.
type Tally struct {
	Count int
	Time  time.Duration
}

func (t *Tally) add(d time.Duration) {
	t.Count++
	t.Time += d
}

// Executions are the batches of one size.
type Executions struct {
	Items int // of each
	Tally
}

// Statistics are those of the model of this number, zero if there is none.
func (o *Observer) Statistics(number int) Statistics {
	m := o.models[number]
	if m == nil {
		return Statistics{}
	}
	s := m.stats
	s.size = nil
	for _, e := range m.stats.size {
		if e.Count > 0 {
			s.Batches = append(s.Batches, e)
		}
	}
	if s.Executions > 0 {
		s.LastInference = o.wall(s.last)
	}
	return s
}

// wall is an instant on the wall clock.
func (o *Observer) wall(t slo.Instant) time.Time { return o.cfg.Epoch.Add(time.Duration(t)) }

// execute counts a batch that has ended.
func (s *Statistics) execute(items int, took time.Duration) {
	for len(s.size) <= items {
		s.size = append(s.size, Executions{Items: len(s.size)})
	}
	s.size[items].add(took)
	s.Executions++
}

// finish counts a job that has ended.
func (s *Statistics) finish(j *record.Job) {
	if !j.End.Outcome.Ran() {
		s.Fail.add(j.Total())
		return
	}
	s.Inferences += j.Items
	s.Success.add(j.Total())
	s.Queue.add(j.Queue())
	s.Compute.add(j.Compute)
}
