package sched

import (
	"slices"
	"sort"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// judge handles a part in which some items were not accepted: it ends them or queues
// them for another route. Each was credited with credit. Failed items leave the job, and its floor holds for the mean
// of the others. If the others cannot keep it, or none is left, the job fails.
func (c *Core) judge(j *job, f Finish, route int, credit worth, verdicts []Verdict) {
	o := j.ledger()
	part, failed := f.Part, false
	var onward []*job
	for first := 0; first < part.Count; {
		verdict, count := verdicts[first], 1
		for first+count < part.Count && verdicts[first+count] == verdict {
			count++
		}
		ended := f
		ended.First, ended.Count = part.First+first, count
		first += count
		if to, ok := verdict.Next(); ok {
			if g := c.goOn(j, ended, route, to, credit); !slices.Contains(onward, g) {
				onward = append(onward, g)
			}
			continue
		}
		if verdict == Fail {
			ended.Outcome, ended.Reason = slo.Failed, slo.ReasonRuntime
			o.shrink(count)
			o.commit(credit, -count)
			failed = true
		}
		c.finish(ended)
	}
	for _, g := range onward {
		c.requeue(g)
	}
	if failed {
		left := 0
		for g := j.first; g != nil; g = g.other {
			left += g.n
		}
		if left == 0 || !c.rebalance(o, worth{}, 0) {
			c.giveUp(j, slo.Failed, slo.ReasonRuntime)
			return
		}
		c.replan(o)
	}
	c.finishJob(j)
}

// rebalance takes the worth of items out of a ledger if the floor of the job can still be kept. If
// the ledger's pending items cannot make up for it, it lowers the goals of groups that
// are above the floor. If it returns false, nothing has changed.
func (c *Core) rebalance(j *job, without worth, items int) bool {
	best := j.planner.MaxAccuracy(j.allowed)
	over := j.goal - (j.committed - without.planned.Times(items)) - best.Times(j.waiting)
	if over > 0 {
		if over > j.spare() {
			return false
		}
		j.goal -= over
	}
	j.commit(without, -items)
	return true
}

// replan makes a new strategy for the pending items of a ledger after their target has
// changed.
func (c *Core) replan(j *job) {
	if j.waiting > 0 {
		j.stale = true
		c.requeue(j)
	}
}

// shrink removes failed items from a group, and from its goal what they should have
// scored. That includes their share of what the goal is above the floor, as far as the
// whole job can spare it.
func (j *job) shrink(items int) {
	floor := j.objective.Floor
	above := j.goal - floor.Times(j.n)
	share := max(0, min(above*slo.Score(items)/slo.Score(j.n), j.spare()))
	j.n -= items
	j.goal -= floor.Times(items) + share
}

// spare returns how much the goals of all groups together are above the floor. Groups
// whose cheapest route scores more than the floor have such goals.
func (j *job) spare() (sum slo.Score) {
	for g := j.first; g != nil; g = g.other {
		sum += g.goal - j.objective.Floor.Times(g.n)
	}
	return sum
}

// onward holds what items have in common that go on to another route. They are a group
// of their own in the job, without goal or score: their expected score was credited to
// the ledger of their original group when they started the first route. That credit
// holds whatever the gates decide, because it is the mean over their decisions. Only an
// item that is answered before its route ends scores less, by loss.
type onward struct {
	ledger   *job  // of the original group
	route    int   // that they take now
	credit   worth // of the route that they started
	loss     worth // if the step before answers them
	answered int   // variant of that step; -1: it gives no answer
}

// ledger returns the ledger that accounts for a group's items.
func (j *job) ledger() *job {
	if j.onward != nil {
		return j.onward.ledger
	}
	return j
}

// worth is what an item scores on a route: by the accuracies that the job's floor is kept
// by, and by the expected ones.
type worth struct{ planned, expected slo.Accuracy }

// worth returns what is credited for each item of a job that takes a route.
func (c *Core) worth(j *job, route int) worth {
	if j.onward != nil {
		return j.onward.credit
	}
	return worth{j.planner.Routes()[route].Accuracy, c.models[j.model].Planner.Routes()[route].Accuracy}
}

// commit credits items to the ledger; a negative number takes them back.
func (j *job) commit(w worth, items int) {
	j.committed += w.planned.Times(items)
	j.expected += w.expected.Times(items)
}

// goOn adds items that a route's gate sends to another route to the group with the same
// route, and returns that group, which must be queued again.
func (c *Core) goOn(j *job, f Finish, route, to int, credit worth) *job {
	m := c.models[j.model]
	from := &m.Planner.Routes()[route]
	branch, ok := from.Branch(to)
	if !ok {
		panic("sched: items of route " + from.Name + " go on with a route that is not in its Next")
	}
	planned, _ := j.planner.Routes()[route].Branch(to)
	k := onward{ledger: j.ledger(), route: to, credit: credit, loss: worth{planned.Loss, branch.Loss}, answered: f.Variant}
	if from.Silent {
		k.answered = -1
	}
	g := j.first
	for last := g; ; g = g.other {
		if g == nil {
			g = &job{id: j.id, group: last.group + 1, first: j.first, client: j.client, model: j.model, planner: j.planner, objective: j.objective, expires: j.expires,
				allowed: 1 << to, onward: &k, virtualTime: j.virtualTime, virtualEnd: j.virtualEnd}
			last.other = g
			break
		}
		if g.onward != nil && *g.onward == k {
			break
		}
		last = g
	}
	g.wait(span{f.First, f.Count})
	c.pend(g, f.Count)
	return g
}

// answerEarly ends those pending items of a group that cannot run their next step in
// time. They keep the answers of the previous step, as far as the job's floor allows
// it. It returns true if it ended items; the others, if any, then have time for their
// step.
func (c *Core) answerEarly(j *job) bool {
	o := j.onward
	if o == nil || o.answered < 0 || c.now > j.objective.Deadline {
		return false
	}
	m := c.models[j.model]
	late := sort.Search(j.waiting, func(early int) bool {
		takes := max(c.longest(m, o.route), time.Duration(m.routeTime(o.route, j.waiting-early))/time.Duration(m.pool.slotsOr1()))
		return c.now.Add(takes) <= j.objective.Deadline
	})
	if late == 0 || !c.settleFor(j, late) {
		return false
	}
	c.finishJob(j)
	return true
}

// settleFor ends some pending items of a group behind a gate with the answers of the step
// before, if the job's floor allows it.
func (c *Core) settleFor(j *job, items int) bool {
	o := j.onward
	if o.answered < 0 || !c.rebalance(o.ledger, o.loss, items) {
		return false
	}
	outcome := slo.OnTime
	if c.now > j.objective.Deadline {
		outcome = slo.Late
	}
	for _, p := range j.take(items, nil) {
		c.finish(Finish{Part: p, Variant: o.answered, Outcome: outcome})
	}
	c.pend(j, -items)
	clear(j.strategy)
	c.requeue(j)
	c.replan(o.ledger)
	return true
}

// answerWithout ends the items of a job that wait behind a gate for routes that no class
// will run, with the answers of the step before. It returns false if there are none, or if
// the job cannot do without these routes.
func (c *Core) answerWithout(j *job, routes plan.Set) bool {
	settled := false
	for g := j.first; g != nil; g = g.other {
		if g.onward != nil && g.waiting > 0 && routes.Has(g.onward.route) {
			if settled = c.settleFor(g, g.waiting); !settled {
				return false
			}
		}
	}
	if !settled || c.Needs(j.id, routes) {
		return false
	}
	c.finishJob(j)
	return true
}
