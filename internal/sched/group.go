package sched

import (
	"slices"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// newJob makes the ledgers of an arrived job: one if all its items carry the same, else
// one for each set of routes that items may take.
func newJob(e Arrive, p *plan.Planner) *job {
	p = p.At(e.Objective.Confidence)
	first := newGroup(e, p, nil)
	if e.Mixed == nil {
		first.allowed = p.Runnable(slo.Carried{Present: e.Present, Choice: e.Choice, Sizes: e.Sizes, NoRecovery: e.Objective.NoRecovery})
		first.put(span{0, e.Items})
		return first
	}
	byAllowed := map[plan.Set]*job{}
	last, at := first, 0
	for _, r := range e.Mixed {
		r.NoRecovery = e.Objective.NoRecovery
		allowed := p.Runnable(r)
		g := byAllowed[allowed]
		switch {
		case g != nil:
		case len(byAllowed) == 0:
			g = first
		default:
			g = newGroup(e, p, last)
			last = g
		}
		g.allowed, byAllowed[allowed] = allowed, g
		g.put(span{at, r.Items})
		at += r.Items
	}
	if at != e.Items {
		panic("sched: the runs of a mixed job do not add up to its items")
	}
	return first
}

// newGroup makes an empty ledger after last, the last one of the job so far; nil: the
// first.
func newGroup(e Arrive, p *plan.Planner, last *job) *job {
	g := &job{id: e.Job, client: e.Client, model: e.Model, planner: p, objective: e.Objective, expires: max(e.Expires, e.Objective.Deadline), background: e.idles()}
	if last == nil {
		g.first, g.bytes = g, e.Bytes
		return g
	}
	g.first, g.group = last.first, last.group+1
	last.other = g
	return g
}

// put adds arrived items after the existing ones.
func (j *job) put(s span) {
	j.n += s.count
	j.wait(s)
}

// wait adds pending items after the existing ones.
func (j *job) wait(s span) {
	j.waiting += s.count
	if k := len(j.pending) - 1; k >= 0 && j.pending[k].first+j.pending[k].count == s.first {
		j.pending[k].count += s.count
		return
	}
	j.pending = append(j.pending, s)
}

// begun reports whether items of the job have been dispatched.
func (j *job) begun() bool {
	for g := j.first; g != nil; g = g.other {
		if g.waiting < g.n {
			return true
		}
	}
	return false
}

// setGoals sets what each group must score so that together they keep the floor. If
// that is impossible, it returns false and the best possible mean. up are the routes that
// can run now, see goalsOf.
func (j *job) setGoals(up plan.Set) (best slo.Accuracy, ok bool) {
	p := j.planner
	if j.other == nil {
		j.goal = j.objective.Floor.Times(j.n)
		best = p.MaxAccuracy(j.allowed)
		return best, best >= j.objective.Floor
	}
	var groups []plan.Group
	n := 0
	for g := j; g != nil; g = g.other {
		groups = append(groups, plan.Group{Items: g.n, Allowed: g.allowed})
		n += g.n
	}
	goals, ok := goalsOf(p, groups, j.objective.Floor.Times(n), up)
	for g := j; g != nil; g = g.other {
		g.goal = goals[g.group]
	}
	return p.MaxScore(groups).Mean(n), ok
}

// goalsOf divides a score over groups. If the routes that are up are enough, it counts on no
// others: a group with a goal that only the others reach would wait, although another
// group could make up for it.
func goalsOf(p *plan.Planner, groups []plan.Group, target slo.Score, up plan.Set) (goals []slo.Score, ok bool) {
	now := slices.Clone(groups)
	for i := range now {
		if now[i].Allowed &= up; now[i].Allowed == 0 {
			return p.Split(groups, target)
		}
	}
	if goals, ok = p.Split(now, target); !ok {
		goals, ok = p.Split(groups, target)
	}
	return goals, ok
}

// expiry holds the jobs that have dispatched items and that are given up at an instant.
// It is a heap, the earliest first, of their first groups.
type expiry struct{ jobs []*job }

// first returns the earliest expiry; Never if there is none.
func (h *expiry) first() slo.Instant {
	if len(h.jobs) == 0 {
		return slo.Never
	}
	return h.jobs[0].expires
}

// add adds a job that expires, unless it is in the heap.
func (h *expiry) add(j *job) {
	if j.expiring != 0 || j.expires == slo.Never || j.objective.Late != slo.LateDrop {
		return
	}
	h.jobs = append(h.jobs, j)
	h.up(len(h.jobs) - 1)
}

// drop removes a job if it is in the heap.
func (h *expiry) drop(j *job) {
	if j.expiring == 0 {
		return
	}
	at, last := j.expiring-1, len(h.jobs)-1
	moved := h.jobs[last]
	h.jobs[last] = nil
	h.jobs = h.jobs[:last]
	j.expiring = 0
	if at < last {
		h.place(moved, at)
		h.down(at)
		h.up(moved.expiring - 1)
	}
}

func (h *expiry) place(j *job, at int) { h.jobs[at], j.expiring = j, at+1 }

func (h *expiry) less(j, k *job) bool {
	return j.expires < k.expires || j.expires == k.expires && j.id < k.id
}

func (h *expiry) up(at int) {
	j := h.jobs[at]
	for at > 0 && h.less(j, h.jobs[(at-1)/2]) {
		h.place(h.jobs[(at-1)/2], at)
		at = (at - 1) / 2
	}
	h.place(j, at)
}

func (h *expiry) down(at int) {
	j := h.jobs[at]
	for {
		child := 2*at + 1
		if child >= len(h.jobs) {
			break
		}
		if child+1 < len(h.jobs) && h.less(h.jobs[child+1], h.jobs[child]) {
			child++
		}
		if !h.less(h.jobs[child], j) {
			break
		}
		h.place(h.jobs[child], at)
		at = child
	}
	h.place(j, at)
}

// expire gives up the jobs whose time is over, even if their items run: callers get
// their answer at that instant.
func (c *Core) expire() {
	for c.expiry.first() < c.now {
		c.giveUp(c.expiry.jobs[0], slo.Shed, slo.ReasonDeadlinePassed)
	}
}
