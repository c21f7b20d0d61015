package sched

import (
	"math"

	"github.com/mosel-serve/mosel/internal/slo"
)

// queue holds the jobs with pending items in order of (deadline, virtual time, id,
// group). Without visiting the jobs it knows how much work is before any point of that
// order, and by how much the tightest job would be on time. It is a treap whose nodes
// hold sums over their subtrees: insert, remove and the queries below take O(log n).
// Priorities are a hash of the id, so the tree is the same in every run.
//
// Work is in nanoseconds per job, already divided by the number of slots that share it.
type queue struct {
	root *job
	jobs int
}

// node is the part of a job that the queue owns.
type node struct {
	left, right *job
	queued      bool
	work        int64 // of this job
	sum         int64 // work of the subtree
	// slack is the least (deadline - work up to and including the job) over the
	// subtree, where work counts from the subtree's first job. slackDrop is the same
	// over the jobs that are dropped when late.
	slack, slackDrop int64
}

// slackMax means "no deadline". It is half the range, to leave room for sums.
const slackMax = math.MaxInt64 / 2

func (j *job) before(k *job) bool {
	if j.objective.Deadline != k.objective.Deadline {
		return j.objective.Deadline < k.objective.Deadline
	}
	if j.virtualTime != k.virtualTime {
		return j.virtualTime < k.virtualTime
	}
	if j.id != k.id {
		return j.id < k.id
	}
	return j.group < k.group
}

// priority spreads ids evenly (splitmix64).
func (j *job) priority() uint64 {
	x := uint64(j.id) + uint64(j.group)<<32 + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// after returns a slack as seen from a point with that much work before it.
func after(slack, work int64) int64 {
	if slack == slackMax {
		return slackMax
	}
	return slack - work
}

// own returns the slack of the job alone, with upTo work up to and including it, and
// the same if it is dropped when late.
func (j *job) own(upTo int64) (slack, slackDrop int64) {
	slack, slackDrop = slackMax, slackMax
	if j.objective.Deadline != slo.Never {
		slack = int64(j.objective.Deadline) - upTo
	}
	if j.objective.Late == slo.LateDrop {
		slackDrop = slack
	}
	return slack, slackDrop
}

// update recomputes a node's sums from its children's.
func (j *job) update() {
	j.sum, j.slack, j.slackDrop = 0, slackMax, slackMax
	if l := j.left; l != nil {
		j.sum, j.slack, j.slackDrop = l.sum, l.slack, l.slackDrop
	}
	j.sum += j.work
	slack, slackDrop := j.own(j.sum)
	j.slack, j.slackDrop = min(j.slack, slack), min(j.slackDrop, slackDrop)
	if r := j.right; r != nil {
		j.slack = min(j.slack, after(r.slack, j.sum))
		j.slackDrop = min(j.slackDrop, after(r.slackDrop, j.sum))
		j.sum += r.sum
	}
}

// insert adds a job that is not queued.
func (q *queue) insert(j *job, work int64) {
	j.node = node{queued: true, work: work}
	q.root = insert(q.root, j)
	q.jobs++
}

// remove removes a queued job.
func (q *queue) remove(j *job) {
	q.root = remove(q.root, j)
	j.node = node{}
	q.jobs--
}

// setWork changes the work of a queued job.
func (q *queue) setWork(j *job, work int64) {
	j.work = work
	reweigh(q.root, j)
}

// setAllWork sets the work of all queued jobs. It visits each once, in no particular
// order.
func (q *queue) setAllWork(work func(*job) int64) { setAllWork(q.root, work) }

func setAllWork(t *job, work func(*job) int64) {
	if t == nil {
		return
	}
	setAllWork(t.left, work)
	setAllWork(t.right, work)
	t.work = work(t)
	t.update()
}

func insert(t, j *job) *job {
	if t == nil {
		j.update()
		return j
	}
	if j.priority() > t.priority() {
		j.left, j.right = split(t, j)
		j.update()
		return j
	}
	if j.before(t) {
		t.left = insert(t.left, j)
	} else {
		t.right = insert(t.right, j)
	}
	t.update()
	return t
}

// split parts t into the jobs before j and the rest.
func split(t, j *job) (before, rest *job) {
	if t == nil {
		return nil, nil
	}
	if t.before(j) {
		t.right, rest = split(t.right, j)
		t.update()
		return t, rest
	}
	before, t.left = split(t.left, j)
	t.update()
	return before, t
}

func merge(a, b *job) *job {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority() > b.priority():
		a.right = merge(a.right, b)
		a.update()
		return a
	default:
		b.left = merge(a, b.left)
		b.update()
		return b
	}
}

func remove(t, j *job) *job {
	switch {
	case t == j:
		return merge(t.left, t.right)
	case j.before(t):
		t.left = remove(t.left, j)
	default:
		t.right = remove(t.right, j)
	}
	t.update()
	return t
}

func reweigh(t, j *job) {
	switch {
	case t == j:
	case j.before(t):
		reweigh(t.left, j)
	default:
		reweigh(t.right, j)
	}
	t.update()
}

// first returns the most urgent job, or nil if the queue is empty.
func (q *queue) first() *job {
	j := q.root
	for j != nil && j.left != nil {
		j = j.left
	}
	return j
}

// firstEndless returns the first job without a deadline, nil if there is none. Jobs
// without a deadline are last in the order.
func (q *queue) firstEndless() (first *job) {
	for t := q.root; t != nil; {
		if t.objective.Deadline == slo.Never {
			first, t = t, t.left
		} else {
			t = t.right
		}
	}
	return first
}

// next returns the job after j, or nil at the end.
func (q *queue) next(j *job) *job {
	var after *job
	for t := q.root; t != nil; {
		if j.before(t) {
			after, t = t, t.left
		} else {
			t = t.right
		}
	}
	return after
}

// slack returns the latest time at which serving can start so that the tightest job is
// just on time, in the order of the queue. It is slackMax if no job has a deadline.
func (q *queue) slack() int64 {
	if q.root == nil {
		return slackMax
	}
	return q.root.slack
}

// total returns the work of all queued jobs.
func (q *queue) total() int64 {
	if q.root == nil {
		return 0
	}
	return q.root.sum
}

// around returns, for a job that is not queued yet, the work of the jobs before
// its place and the least slack (as in the method slack) over the jobs after it
// that are dropped when late.
func (q *queue) around(j *job) (before, slackAfter int64) {
	slackAfter = slackMax
	for t := q.root; t != nil; {
		upTo := before + t.work
		if t.left != nil {
			upTo += t.left.sum
		}
		if !j.before(t) {
			before, t = upTo, t.right
			continue
		}
		_, own := t.own(upTo)
		slackAfter = min(slackAfter, own)
		if t.right != nil {
			slackAfter = min(slackAfter, after(t.right.slackDrop, upTo))
		}
		t = t.left
	}
	return before, slackAfter
}
