package sched

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TestClientsAgainstSlices adds, drops and reweighs random jobs of a few clients and
// compares the heap with plain lists.
func TestClientsAgainstSlices(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 5))
		h := clients{byID: map[ClientID]*client{}}
		want := map[ClientID][]*job{} // in the order of queueing
		queued := 0
		for step := range 300 {
			id := ClientID(rng.IntN(8))
			list := want[id]
			switch {
			case len(list) == 0 || rng.IntN(30) > queued:
				j := &job{id: JobID(step), client: id, node: node{work: rng.Int64N(20)}}
				h.add(j)
				want[id] = append(list, j)
				queued++
			case rng.IntN(2) == 0:
				at := rng.IntN(len(list))
				h.drop(list[at])
				want[id] = slices.Delete(list, at, at+1)
				queued--
			default:
				j, work := list[rng.IntN(len(list))], rng.Int64N(20)
				h.setWork(j, work)
				j.work = work // the field that the queue sets
			}
			compareClients(t, &h, want)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

func compareClients(t *testing.T, h *clients, want map[ClientID][]*job) {
	t.Helper()
	known, richest, most := 0, ClientID(0), int64(-1)
	for id, list := range want {
		var work int64
		for _, j := range list {
			work += j.work
		}
		if h.work(id) != work {
			t.Errorf("client %d has work %d, want %d", id, h.work(id), work)
		}
		if len(list) == 0 {
			if h.byID[id] != nil {
				t.Errorf("client %d is known without a job", id)
			}
			continue
		}
		known++
		if work > most || work == most && id < richest {
			richest, most = id, work
		}
		at := len(list)
		for j := h.byID[id].newest; j != nil; j = j.older {
			if at--; at < 0 || list[at] != j {
				t.Errorf("client %d: job %d is out of order", id, j.id)
				return
			}
		}
		if at != 0 {
			t.Errorf("client %d: %d jobs are not linked", id, at)
		}
	}
	if len(h.heap) != known || len(h.byID) != known {
		t.Errorf("%d clients in the heap, %d by id, want %d", len(h.heap), len(h.byID), known)
	}
	if known > 0 && h.heap[0].id != richest {
		t.Errorf("client %d is first, want %d with work %d", h.heap[0].id, richest, most)
	}
	for at, c := range h.heap {
		if c.at != at {
			t.Errorf("client %d at %d says it is at %d", c.id, at, c.at)
		}
	}
}

// TestClientsPopPush pops all clients, the one with the most work first, and pushes
// them again, as the search for room does.
func TestClientsPopPush(t *testing.T) {
	h := clients{byID: map[ClientID]*client{}}
	for i, work := range []int64{3, 9, 1, 9, 7} {
		h.add(&job{id: JobID(i), client: ClientID(i), node: node{work: work}})
	}
	var ids []ClientID
	var out []*client
	for h.Len() > 0 {
		c := heap.Pop(&h).(*client)
		ids, out = append(ids, c.id), append(out, c)
	}
	if want := []ClientID{1, 3, 4, 0, 2}; !slices.Equal(ids, want) {
		t.Errorf("clients come as %v, want %v", ids, want)
	}
	for _, c := range out {
		heap.Push(&h, c)
	}
	for at, c := range h.heap {
		if c.at != at {
			t.Errorf("client %d at %d says it is at %d", c.id, at, c.at)
		}
	}
}

// TestTurns checks start-time fair queueing of jobs without a deadline: a client's jobs
// follow one another by their work, and a new client starts at the current virtual
// time, not at 0.
func TestTurns(t *testing.T) {
	h := clients{byID: map[ClientID]*client{}}
	add := func(id ClientID, work int64) *job {
		j := &job{client: id, objective: slo.Objective{Deadline: slo.Never}, node: node{work: work}}
		h.takeVirtualTime(j, work)
		h.add(j)
		return j
	}
	a1, a2, b1 := add(1, 10), add(1, 5), add(2, 100)
	if a1.virtualTime != 0 || a2.virtualTime != 10 || b1.virtualTime != 0 {
		t.Errorf("turns %d, %d and %d, want 0, 10 and 0", a1.virtualTime, a2.virtualTime, b1.virtualTime)
	}
	h.virtualTime = 40 // a job with this virtual time led a batch
	if c1, a3, b2 := add(3, 1), add(1, 1), add(2, 1); c1.virtualTime != 40 || a3.virtualTime != 40 || b2.virtualTime != 100 {
		t.Errorf("turns %d, %d and %d, want 40, 40 and 100", c1.virtualTime, a3.virtualTime, b2.virtualTime)
	}
	h.drop(b1)
	h.drop(h.byID[2].newest)
	if b3 := add(2, 1); b3.virtualTime != 40 {
		t.Errorf("a client that had left starts at %d, want 40", b3.virtualTime)
	}
}
