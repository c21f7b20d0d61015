package sched

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TestExpiryAgainstSlice adds and drops random jobs and compares the heap with a list.
func TestExpiryAgainstSlice(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var h expiry
		var want, all []*job
		for i := range 40 {
			j := &job{id: JobID(i), expires: slo.Instant(rng.IntN(15)), objective: slo.Objective{Late: slo.LateDrop}}
			switch rng.IntN(6) {
			case 0:
				j.expires = slo.Never
			case 1:
				j.objective.Late = slo.LateRun
			}
			all = append(all, j)
		}
		for step := range 400 {
			j := all[rng.IntN(len(all))]
			if len(h.jobs) > 0 && rng.IntN(5) == 0 {
				j = h.jobs[0]
			}
			at := slices.Index(want, j)
			if rng.IntN(2) == 0 {
				h.add(j)
				if at < 0 && j.expires != slo.Never && j.objective.Late == slo.LateDrop {
					want = append(want, j)
				}
			} else {
				h.drop(j)
				if at >= 0 {
					want = slices.Delete(want, at, at+1)
				}
			}
			compareExpiry(t, &h, want, all)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

func compareExpiry(t *testing.T, h *expiry, want, all []*job) {
	t.Helper()
	earliest := slo.Never
	var first *job
	for _, j := range want {
		if j.expires < earliest || j.expires == earliest && j.id < first.id {
			earliest, first = j.expires, j
		}
	}
	if h.first() != earliest {
		t.Errorf("first expires at %d, want %d", h.first(), earliest)
	}
	if first != nil && h.jobs[0] != first {
		t.Errorf("job %d is first, want %d: the lower id of equals", h.jobs[0].id, first.id)
	}
	if len(h.jobs) != len(want) {
		t.Errorf("%d jobs, want %d", len(h.jobs), len(want))
	}
	for at, j := range h.jobs {
		if j.expiring != at+1 {
			t.Errorf("job %d at place %d says it is at %d", j.id, at+1, j.expiring)
		}
	}
	for _, j := range all {
		if in := slices.Contains(want, j); in != (j.expiring != 0) {
			t.Errorf("job %d: place %d, in the list %v", j.id, j.expiring, in)
		}
	}
	for _, j := range h.jobs[len(h.jobs):cap(h.jobs)] {
		if j != nil {
			t.Errorf("job %d is held in memory after it has left", j.id)
		}
	}
}

// TestExpiryOrder drops the first job until none is left, and checks that they come in
// order.
func TestExpiryOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	var h expiry
	for i := range 1000 {
		h.add(&job{id: JobID(i), expires: slo.Instant(rng.IntN(200)), objective: slo.Objective{Late: slo.LateDrop}})
	}
	var last *job
	for len(h.jobs) > 0 {
		j := h.jobs[0]
		if last != nil && !h.less(last, j) {
			t.Fatalf("job %d (%d) comes after %d (%d)", j.id, j.expires, last.id, last.expires)
		}
		last = j
		h.drop(j)
	}
	if h.first() != slo.Never {
		t.Errorf("an empty heap expires at %d", h.first())
	}
}
