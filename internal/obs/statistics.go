package obs

import (
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Statistics are a model's figures for the statistics extension of the Open Inference
// Protocol, since the model was loaded. Requests are jobs, inferences are items.
type Statistics struct {
	Inferences    int       // items of jobs that ran to their end
	Executions    int       // batches that ended
	LastInference time.Time // zero: none yet

	Success Tally // jobs that ran: total time
	Fail    Tally // jobs that did not run: shed, infeasible, cancelled, failed
	Queue   Tally // jobs that ran: time until their first batch
	Compute Tally // jobs that ran: time in their batches

	Batches []Executions // by size, ascending

	last slo.Instant // end of the last batch
	size []Executions
}

// Tally is a number of durations and their sum.
type Tally struct {
	Count int
	Time  time.Duration
}

func (t *Tally) add(d time.Duration) {
	t.Count++
	t.Time += d
}

// Executions counts the batches of one size.
type Executions struct {
	Items int // per batch
	Tally
}

// Statistics returns those of the model with this number, zero if there is none.
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

// wall returns an instant as wall-clock time.
func (o *Observer) wall(t slo.Instant) time.Time { return o.cfg.Epoch.Add(time.Duration(t)) }

// execute counts the end of a batch.
func (s *Statistics) execute(items int, took time.Duration) {
	for len(s.size) <= items {
		s.size = append(s.size, Executions{Items: len(s.size)})
	}
	s.size[items].add(took)
	s.Executions++
}

// finish counts the end of a job.
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
