package sched

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// sortedQueue is the queue as a sorted slice: slow and simple, as a reference.
type sortedQueue struct{ jobs []*job }

// place returns the index of a job, or where it would be, and whether it is there.
func (q *sortedQueue) place(j *job) (int, bool) {
	return slices.BinarySearchFunc(q.jobs, j, func(a, b *job) int {
		return cmp.Or(cmp.Compare(a.objective.Deadline, b.objective.Deadline), cmp.Compare(a.virtualTime, b.virtualTime),
			cmp.Compare(a.id, b.id), cmp.Compare(a.group, b.group))
	})
}

func (q *sortedQueue) insert(j *job) {
	at, _ := q.place(j)
	q.jobs = slices.Insert(q.jobs, at, j)
}

func (q *sortedQueue) remove(j *job) {
	at, _ := q.place(j)
	q.jobs = slices.Delete(q.jobs, at, at+1)
}

// slacks walks over the jobs from the index at. It returns the least time between a
// job's deadline and the end of the work up to it, over all jobs and over those that
// are dropped when late.
func (q *sortedQueue) slacks(at int) (slack, slackDrop int64) {
	slack, slackDrop = slackMax, slackMax
	var upTo int64
	for i, j := range q.jobs {
		upTo += j.work
		if i < at || j.objective.Deadline == slo.Never {
			continue
		}
		own := int64(j.objective.Deadline) - upTo
		slack = min(slack, own)
		if j.objective.Late == slo.LateDrop {
			slackDrop = min(slackDrop, own)
		}
	}
	return slack, slackDrop
}

func (q *sortedQueue) workBefore(at int) (sum int64) {
	for _, j := range q.jobs[:at] {
		sum += j.work
	}
	return sum
}

// randomJobs draws the groups of one job, which share an id and a deadline. Ranges are
// small, so many jobs differ only in their ids.
func randomJobs(rng *rand.Rand, id JobID) []*job {
	o := slo.Objective{Deadline: slo.Instant(rng.IntN(50)), Late: slo.LateRule(rng.IntN(2))}
	noDeadlineShare := rng.IntN(4) == 0
	if noDeadlineShare {
		o.Deadline = slo.Never
	}
	groups := make([]*job, 1+rng.IntN(3))
	for i := range groups {
		groups[i] = &job{id: id, group: i, objective: o}
		if noDeadlineShare {
			groups[i].virtualTime = int64(rng.IntN(20))
		}
	}
	return groups
}

// TestQueueAgainstSortedSlice inserts, removes and reweighs jobs at random, and
// compares every query after each step.
func TestQueueAgainstSortedSlice(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q queue
		var want sortedQueue
		var out []*job // not queued
		id := JobID(0)
		size := 1 + rng.IntN(60)
		for step := range 300 {
			n := len(want.jobs)
			switch {
			case n == 0 || rng.IntN(size) >= n:
				if len(out) == 0 || rng.IntN(2) == 0 {
					id++
					out = append(out, randomJobs(rng, id)...)
				}
				at := rng.IntN(len(out))
				j := out[at]
				out = slices.Delete(out, at, at+1)
				q.insert(j, rng.Int64N(30))
				want.insert(j)
			case rng.IntN(2) == 0:
				j := want.jobs[rng.IntN(n)]
				q.remove(j)
				want.remove(j)
				if j.node != (node{}) {
					t.Fatalf("seed %d, step %d: a removed job keeps what the queue knew: %+v", seed, step, j.node)
				}
				out = append(out, j)
			default:
				q.setWork(want.jobs[rng.IntN(n)], rng.Int64N(30))
			}
			probes := append(randomJobs(rng, JobID(rng.IntN(int(id)+2))), out...)
			if err := compareQueues(&q, &want, probes); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

func compareQueues(q *queue, want *sortedQueue, probes []*job) error {
	var jobs []*job
	for j := q.first(); j != nil; j = q.next(j) {
		jobs = append(jobs, j)
	}
	slack, slackDrop := want.slacks(0)
	switch {
	case !slices.Equal(jobs, want.jobs):
		return fmt.Errorf("the order is %v, want %v", names(jobs), names(want.jobs))
	case q.jobs != len(want.jobs):
		return fmt.Errorf("%d jobs counted, want %d", q.jobs, len(want.jobs))
	case q.total() != want.workBefore(len(want.jobs)):
		return fmt.Errorf("total %d, want %d", q.total(), want.workBefore(len(want.jobs)))
	case q.slack() != slack:
		return fmt.Errorf("slack %d, want %d", q.slack(), slack)
	case q.root != nil && q.root.slackDrop != slackDrop:
		return fmt.Errorf("slack of those dropped %d, want %d", q.root.slackDrop, slackDrop)
	}
	for _, p := range probes {
		at, there := want.place(p)
		next := at
		if there {
			next++
		}
		var after *job
		if next < len(want.jobs) {
			after = want.jobs[next]
		}
		if got := q.next(p); got != after {
			return fmt.Errorf("next after %v is %v, want %v", names([]*job{p}), got, after)
		}
		if there {
			continue // around is for jobs that are not queued
		}
		_, slackAfter := want.slacks(at)
		if before, slack := q.around(p); before != want.workBefore(at) || slack != slackAfter {
			return fmt.Errorf("around %v: %d before, slack %d, want %d and %d", names([]*job{p}), before, slack, want.workBefore(at), slackAfter)
		}
	}
	return checkTreap(q.root)
}

// checkTreap checks that no node has a lower priority than its children.
func checkTreap(t *job) error {
	if t == nil {
		return nil
	}
	for _, child := range []*job{t.left, t.right} {
		if child != nil && child.priority() > t.priority() {
			return fmt.Errorf("job %d.%d is above %d.%d", t.id, t.group, child.id, child.group)
		}
		if err := checkTreap(child); err != nil {
			return err
		}
	}
	return nil
}

func names(jobs []*job) (list []string) {
	for _, j := range jobs {
		list = append(list, fmt.Sprintf("%d.%d", j.id, j.group))
	}
	return list
}

// TestQueueEmpty asks an empty queue.
func TestQueueEmpty(t *testing.T) {
	var q queue
	before, slack := q.around(&job{id: 1})
	if q.first() != nil || q.next(&job{id: 1}) != nil || q.total() != 0 || q.slack() != slackMax || before != 0 || slack != slackMax {
		t.Errorf("first %v, total %d, slack %d, around %d and %d", q.first(), q.total(), q.slack(), before, slack)
	}
}

// shape returns a tree as text.
func shape(t *job) string {
	if t == nil {
		return "-"
	}
	return fmt.Sprintf("(%s %d.%d %s)", shape(t.left), t.id, t.group, shape(t.right))
}

// TestQueueShape checks that the tree depends only on its jobs, not on the order of
// insertion, and that it is not deep although ids are consecutive.
func TestQueueShape(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var jobs []*job
	for id := range JobID(300) {
		jobs = append(jobs, randomJobs(rng, id)...)
	}
	var q queue
	for _, j := range jobs {
		q.insert(j, 1)
	}
	want := shape(q.root)
	for range 5 {
		q = queue{}
		rng.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
		extra := randomJobs(rng, 1000)[0]
		for i, j := range jobs {
			q.insert(j, 1)
			if i == len(jobs)/2 {
				q.insert(extra, 1)
			}
		}
		q.remove(extra)
		if got := shape(q.root); got != want {
			t.Fatal("the same jobs make a different tree")
		}
	}
	q = queue{}
	const many = 10_000
	for id := range JobID(many) {
		q.insert(&job{id: id, objective: slo.Objective{Deadline: slo.Instant(id)}}, 1)
	}
	if d := depth(q.root); d > 50 { // random priorities give about 2 ln n, at most 33 or so
		t.Errorf("%d jobs make a tree %d deep", many, d)
	}
}

func depth(t *job) int {
	if t == nil {
		return 0
	}
	return 1 + max(depth(t.left), depth(t.right))
}
