package obs

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/status"
)

// Explain explains a job by its id: what was done and why. It returns false if there is
// no such job, or it was forgotten.
func (o *Observer) Explain(id string) (status.Explanation, bool) {
	j, m := o.find(id)
	if j == nil {
		return status.Explanation{}, false
	}
	e := explaining{job: j, model: m, planner: m.Planner.At(j.Objective.Confidence), policy: o.cfg.Policy, runnable: runnableBy(m.Planner, j),
		ran: make([]int, len(m.variants)), running: make([]int, len(m.variants)), stopped: make([]record.BatchEnd, len(m.variants)), upgraded: make([]bool, len(m.variants))}
	for _, r := range j.Ran {
		e.ran[r.Variant] = r.Items
	}
	s := e.explain(o.wall(j.Arrived))
	s.Job = o.cfg.IDs.Of(j.Job)
	for _, share := range j.Shares {
		b := o.history.find(share.Batch)
		if b == nil {
			continue
		}
		e.batches = append(e.batches, b)
		switch b.End {
		case record.BatchRunning:
			e.running[b.Variant] += share.Items
		case record.BatchFailed, record.BatchLost, record.BatchAborted:
			e.stopped[b.Variant] = b.End
		case record.BatchDone, record.BatchUnknown:
		}
		if b.Why != nil && b.Why.Chosen.Route != b.Why.Planned.Route {
			e.upgraded[b.Variant] = true
		}
		told := e.batch(o.decision(b), b, share.Items)
		if b.Why != nil {
			told.Head = o.cfg.IDs.Of(b.Why.Head)
		}
		s.Batches = append(s.Batches, told)
	}
	s.BatchesLeftOut = j.Batches - len(s.Batches)
	s.Cascades, s.Alternatives, s.Primaries = e.cascadesOf(), e.alternatives(), e.primaries()
	return s, true
}

// runnableBy is the set of routes that some item of a job may take.
func runnableBy(p *plan.Planner, j *record.Job) plan.Set {
	if j.Mixed == nil {
		return p.Runnable(slo.Carried{Present: j.Present, Choice: j.Choice, Sizes: j.Sizes, NoRecovery: j.Objective.NoRecovery})
	}
	var set plan.Set
	for _, r := range j.Mixed {
		r.NoRecovery = j.Objective.NoRecovery
		set |= p.Runnable(r)
	}
	return set
}

// find returns an unfinished or remembered job, with its model.
func (o *Observer) find(id string) (*record.Job, *model) {
	number, ok := o.cfg.IDs.Job(id)
	if !ok {
		return nil, nil
	}
	if j := o.tracker.Job(number); j != nil {
		return j, o.models[j.Model]
	}
	for i := range o.history.jobs {
		if k := &o.history.jobs[i]; k.job != nil && k.id == number {
			return k.job, k.model
		}
	}
	return nil, nil
}

// Requests lists the unfinished and remembered jobs whose requests have this id of the
// client's own, the newest first.
func (o *Observer) Requests(clientID string) status.Requests {
	list := status.Requests{ClientID: clientID, Requests: []status.Request{}}
	name := cut(clientID)
	if name == "" {
		return list
	}
	hash := maphash.String(o.seed, name)
	type found struct {
		*record.Job
		model *model
	}
	var jobs []found
	for i := range o.history.jobs {
		if k := &o.history.jobs[i]; k.request == hash && k.job != nil && k.job.Request == name {
			jobs = append(jobs, found{k.job, k.model})
		}
	}
	for _, a := range o.history.asked {
		if a.request != hash {
			continue
		}
		if j := o.tracker.Job(a.id); j != nil && j.Request == name {
			jobs = append(jobs, found{j, o.models[j.Model]})
		}
	}
	slices.SortFunc(jobs, func(a, b found) int {
		return cmp.Or(cmp.Compare(b.Arrived, a.Arrived), cmp.Compare(b.Job.Job, a.Job.Job))
	})
	list.Total = len(jobs)
	for _, j := range jobs[:min(len(jobs), status.RequestsMax)] {
		list.Requests = append(list.Requests, status.Request{Job: o.cfg.IDs.Of(j.Job.Job), Client: j.Sender, Model: j.model.Name, Version: j.model.Version,
			Items: j.Items, Arrived: o.wall(j.Arrived), Outcome: outcome(j.Job)})
	}
	return list
}

// outcome returns how a job ended, or its current state.
func outcome(j *record.Job) string {
	switch {
	case j.End.Outcome != 0:
		return j.End.Outcome.String()
	case j.Batches > 0:
		return "running"
	}
	return "queued"
}

// explaining is a job with everything needed to explain it.
type explaining struct {
	job      *record.Job
	model    *model
	policy   plan.Policy
	runnable plan.Set
	ran      []int             // items, by variant
	planner  *plan.Planner     // by whose accuracies the job's floor is kept
	running  []int             // items that run now
	stopped  []record.BatchEnd // how a batch ended that did not finish
	upgraded []bool            // by variant: a batch of it was more accurate than planned
	batches  []*batchRecord    // those that are remembered
}

// explain returns the explanation without the batches and the alternatives.
func (e *explaining) explain(arrived time.Time) status.Explanation {
	j := e.job
	s := status.Explanation{Request: j.Request, Client: j.Sender, Model: e.model.Name, Version: e.model.Version,
		Items: j.Items, Modalities: j.Present.Names(e.model.Modalities), Choice: j.Choice.Names(e.model.Modalities),
		Floor: j.Objective.Floor.Float(), Confidence: j.Objective.Confidence.Float(), Late: j.Objective.Late.String(), Arrived: arrived, ComputeMS: stats.Milliseconds(j.Compute),
		Outcome: outcome(j), Reason: j.End.Reason.String(), Summary: e.ended(), Batches: []status.JobBatch{}}
	if j.Objective.Deadline != slo.Never {
		s.DeadlineMS = new(stats.Milliseconds(j.Objective.Deadline.Sub(j.Arrived)))
	}
	if j.Batches > 0 {
		s.StartedMS = new(stats.Milliseconds(j.Started.Sub(j.Arrived)))
	}
	if j.End.Outcome == 0 {
		return s
	}
	s.EndedMS = new(stats.Milliseconds(j.Total()))
	if j.End.Outcome.Ran() {
		s.Accuracy = new(j.End.Expected.Float())
		if j.Objective.Confidence != 0 {
			s.AccuracyLow = new(j.End.Certified.Float())
		}
	}
	if j.Objective.Deadline != slo.Never {
		s.SlackMS = new(stats.Milliseconds(j.Slack()))
	}
	if j.End.RetryAfter > 0 {
		s.RetryAfterMS = new(stats.Milliseconds(j.End.RetryAfter))
	}
	if j.End.Best > 0 {
		s.Best = new(j.End.Best.Float())
	}
	return s
}

// batch describes a batch that ran some of the job's items.
func (e *explaining) batch(d status.Decision, b *batchRecord, items int) status.JobBatch {
	s := status.JobBatch{Decision: d, StartedMS: stats.Milliseconds(b.Started.Sub(e.job.Arrived)), JobItems: items}
	if b.Why == nil {
		return s
	}
	s.QueuedItems = b.Why.Queued
	s.SlackMS, s.ReserveMS = stats.Milliseconds(b.Why.Slack), stats.Milliseconds(b.Why.Reserve)
	routes := e.planner.Routes()
	planned := routes[b.Why.Planned.Route]
	s.Planned = &status.Option{Variant: planned.Name, Items: b.Why.Planned.Items, Accuracy: planned.Accuracy.Float(),
		PredictedMS: stats.Milliseconds(e.model.time(b.Why.Planned.Route, b.Why.Planned.Items)), Chosen: b.Why.Planned == b.Why.Chosen}
	for _, o := range b.Why.Options {
		told := status.Option{Variant: routes[o.Route].Name, Items: o.Items, Accuracy: routes[o.Route].Accuracy.Float(),
			PredictedMS: stats.Milliseconds(o.Predicted), LateItems: round(o.Late, 4), Chosen: o.Batch == b.Why.Chosen}
		if o.Batch == b.Why.Planned {
			*s.Planned = told
		}
		s.Options = append(s.Options, told)
	}
	return s
}

// alternatives describes every variant of the model, then its cascades and gates.
func (e *explaining) alternatives() (list []status.Alternative) {
	profiled := e.model.Origin().Planner.Routes()
	for r, route := range e.planner.Routes() {
		variant := r < len(e.planner.Variants())
		if route.Inner && !variant {
			continue // no job starts on it
		}
		told := status.Alternative{Variant: route.Name, Modalities: route.Modalities.Names(e.model.Modalities),
			Accuracy: route.Accuracy.Float(), Runnable: e.runnable.Has(r), MeetsFloor: route.Accuracy >= e.job.Objective.Floor,
			PredictedMS: stats.Milliseconds(e.time(r)), Cascade: !variant}
		if variant {
			told.Items, told.Why = e.ran[r], e.alternative(r)
		} else {
			told.Items, told.Why = e.taken(r).Items, e.cascadeAlternative(r)
		}
		if p := profiled[r].Accuracy; p > route.Accuracy {
			told.Profile = p.Float()
			told.Why += fmt.Sprintf("; %s by the profile, lowered by drift", p)
		}
		list = append(list, told)
	}
	return list
}
