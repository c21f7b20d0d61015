package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// inWorld runs a test in virtual time, with one process without faults.
func inWorld(t *testing.T, test func(w *world, m *Manager, a *access)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		m, a := w.process(0, 0)
		defer m.Close()
		test(w, m, a)
	})
}

// submitted submits a job.
func submitted(t *testing.T, m *Manager, s Spec) oip.Job {
	t.Helper()
	job, _, err := m.Submit(t.Context(), s, bytes.Repeat([]byte{1}, s.Items))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// over waits until a job has ended.
func over(t *testing.T, m *Manager, id string) oip.Job {
	t.Helper()
	job, err := m.Results(t.Context(), "m", id, 0, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// TestPoison checks that a job that always fails ends with its reason, and does not hold
// up others.
func TestPoison(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, _ *access) {
		t := w.t
		w.model.fail = func(s *Spec, c Chunk) error {
			if s.Key == "poison" && c.Index == 3 {
				return slo.E("", slo.KindInternal, "the graph fails")
			}
			return nil
		}
		bad := submitted(t, m, testSpec("poison"))
		good := submitted(t, m, testSpec("good"))
		if job := over(t, m, good.ID); job.State != StateCompleted {
			t.Errorf("the other job ended as %+v", job)
		}
		job := over(t, m, bad.ID)
		if job.State != StateFailed || job.Reason != "items 21 to 27 failed 5 times: the graph fails" || job.Done < testChunk {
			t.Errorf("the job ended as %+v", job)
		}
	})
}

// TestFailuresThatPass checks that a job waits out failures that pass, and fails at once
// for those that do not.
func TestFailuresThatPass(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, _ *access) {
		t := w.t
		busy := time.Now().Add(time.Hour)
		w.model.fail = func(s *Spec, _ Chunk) error {
			switch {
			case s.Key == "wait" && time.Now().Before(busy):
				return slo.E("", slo.KindOverloaded, "the queue is full")
			case s.Key == "never":
				return slo.E("", slo.KindInfeasible, "at most 0.8 is possible")
			}
			return nil
		}
		wait, never := submitted(t, m, testSpec("wait")), submitted(t, m, testSpec("never"))
		if job := over(t, m, never.ID); job.State != StateFailed || !strings.HasSuffix(job.Reason, "at most 0.8 is possible") || time.Now().After(busy) {
			t.Errorf("the job that is infeasible ended as %+v", job)
		}
		time.Sleep(time.Minute)
		if job, _ := m.Job("m", wait.ID); job.State != StateRunning || job.Reason != "the queue is full" {
			t.Errorf("the job that waits is %+v", job)
		}
		if job := over(t, m, wait.ID); job.State != StateCompleted || job.Reason != "" {
			t.Errorf("the job that waited ended as %+v", job)
		}
	})
}

// TestCancel checks that a cancelled job stops, and stays so.
func TestCancel(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, _ *access) {
		t := w.t
		job := submitted(t, m, testSpec(""))
		time.Sleep(500 * time.Millisecond)
		if _, err := m.Cancel(t.Context(), "m", job.ID); err != nil {
			t.Fatal(err)
		}
		w.model.mu.Lock()
		runs := w.model.runs
		w.model.mu.Unlock()
		job = over(t, m, job.ID)
		if job.State != StateCancelled || w.model.runs != runs {
			t.Errorf("after %d runs %+v", w.model.runs, job)
		}
		m.Close()
		m, _ = w.process(0, 0)
		defer m.Close()
		if again, err := m.Job("m", job.ID); err != nil || again.State != StateCancelled || again.Done != job.Done {
			t.Errorf("in the next process %+v, %v", again, err)
		}
	})
}

// TestLate checks both rules for a deadline that passes, also while no process runs.
func TestLate(t *testing.T) {
	for _, rule := range []slo.LateRule{slo.LateDrop, slo.LateRun} {
		for _, down := range []time.Duration{0, time.Hour} {
			inWorld(t, func(w *world, m *Manager, _ *access) {
				t := w.t
				s := testSpec("")
				s.Late, s.Deadline = rule, time.Now().Add(700*time.Millisecond).Round(0)
				job := submitted(t, m, s)
				if down > 0 {
					time.Sleep(300 * time.Millisecond)
					m.Close()
					time.Sleep(down)
					m, _ = w.process(0, 0)
					defer m.Close()
				}
				job = over(t, m, job.ID)
				want := StateLate
				if rule == slo.LateRun {
					want = StateCompleted
				}
				if job.State != want || want == StateLate && down == 0 && !job.Ended.Equal(s.Deadline) {
					t.Errorf("rule %v, down %v: %+v", rule, down, job)
				}
			})
		}
	}
}

// TestIdempotencyKey checks that a key belongs to one job of one client.
func TestIdempotencyKey(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, _ *access) {
		t := w.t
		first := submitted(t, m, testSpec("k"))
		if again := submitted(t, m, testSpec("k")); again.ID != first.ID {
			t.Errorf("the same submission is another job")
		}
		s := testSpec("k")
		s.Client = "other"
		if other := submitted(t, m, s); other.ID == first.ID {
			t.Errorf("another client's key is the same job")
		}
		_, _, err := m.Submit(t.Context(), testSpec("k"), bytes.Repeat([]byte{2}, testItems))
		if slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("other inputs with the same key: %v", err)
		}
	})
}

// TestBounds checks the bounds of a client, of all bytes, and of the time that jobs are kept.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		a := &access{disk: w.disk, rand: rand.New(rand.NewPCG(1, 2)), crashed: make(chan struct{})}
		cfg := DefaultConfig()
		cfg.ClientJobsMax, cfg.BytesMax = 2, 8_000
		cfg.Open = func(context.Context) (Store, error) { return a, nil }
		m := New(cfg)
		defer m.Close()
		if err := m.Start(t.Context(), w.model); err != nil {
			t.Fatal(err)
		}
		first, second := submitted(t, m, testSpec("")), submitted(t, m, testSpec(""))
		_, _, err := m.Submit(t.Context(), testSpec(""), bytes.Repeat([]byte{1}, testItems))
		if slo.KindOf(err) != slo.KindOverloaded {
			t.Errorf("a third job of the client: %v", err)
		}
		over(t, m, first.ID)
		over(t, m, second.ID)
		for range 8 {
			over(t, m, submitted(t, m, testSpec("")).ID)
		}
		if _, err := m.Job("m", first.ID); slo.KindOf(err) != slo.KindNotFound {
			t.Errorf("the oldest job is kept beyond the bytes: %v", err)
		}
		list, _ := m.Jobs("m", "c")
		if len(list) < 2 || len(list) > 9 {
			t.Errorf("%d jobs are kept", len(list))
		}
		s := testSpec("")
		s.Items = 30_000
		if _, _, err := m.Submit(t.Context(), s, make([]byte, s.Items)); slo.KindOf(err) != slo.KindOverloaded {
			t.Errorf("a job that is larger than the store: %v", err)
		}
		time.Sleep(cfg.Keep + 2*tidyEvery)
		if list, err := m.Jobs("m", "c"); len(list) != 0 || err != nil {
			t.Errorf("%d jobs are kept for too long, %v", len(list), err)
		}
		if len(w.disk.values) != 0 {
			t.Errorf("%d keys are left", len(w.disk.values))
		}
	})
}

// TestFull checks that a job waits while its results find no room, and then goes on.
func TestFull(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, a *access) {
		t := w.t
		job := submitted(t, m, testSpec(""))
		a.set(func() { a.full = true })
		time.Sleep(10 * time.Second)
		if err := m.Ready(); err == nil || !errors.Is(err, ErrFull) {
			t.Errorf("with a full store: %v", err)
		}
		if job, _ := m.Job("m", job.ID); job.State != StateRunning || !strings.Contains(job.Reason, "no room") {
			t.Errorf("with a full store the job is %+v", job)
		}
		if _, _, err := m.Submit(t.Context(), testSpec(""), make([]byte, testItems)); slo.KindOf(err) != slo.KindOverloaded {
			t.Errorf("with a full store a job is submitted: %v", err)
		}
		a.set(func() { a.full = false })
		if job := over(t, m, job.ID); job.State != StateCompleted {
			t.Errorf("the job ended as %+v", job)
		}
		if err := m.Ready(); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// TestBrokenStore checks that calls fail with a clear error while the store fails, and
// that all goes on without hands when it works again.
func TestBrokenStore(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, a *access) {
		t := w.t
		job := submitted(t, m, testSpec("k"))
		a.set(func() { a.down = true })
		time.Sleep(time.Minute)
		_, err := m.Job("m", job.ID)
		if slo.KindOf(err) != slo.KindUnavailable || m.Ready() == nil {
			t.Errorf("with a broken store: %v", err)
		}
		a.set(func() { a.down = false })
		time.Sleep(2 * reopenMax)
		if job := over(t, m, job.ID); job.State != StateCompleted {
			t.Errorf("the job ended as %+v", job)
		}
	})
}

// TestStarts checks that a job during which every process ends fails after a while.
func TestStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		m, _ := w.process(0, 0)
		job := submitted(t, m, testSpec(""))
		for range startsMax {
			synctest.Wait()
			m.Close() // before any chunk is done
			m, _ = w.process(0, 0)
		}
		defer m.Close()
		if job := over(t, m, job.ID); job.State != StateFailed || !strings.Contains(job.Reason, "was started 10 times") {
			t.Errorf("the job ended as %+v", job)
		}
	})
}

// set changes what a disk does.
func (a *access) set(change func()) {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	change()
}

// TestLedger checks, on random jobs, that the floor of a chunk never rises above the
// job's, and that a job whose chunks keep their floors keeps its own, whatever is lost.
func TestLedger(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := &Spec{Items: 1 + r.IntN(200), ChunkItems: 1 + r.IntN(30), Floor: slo.Accuracy(r.IntN(int(slo.AccuracyUnit) + 1))}
		l := newLedger(s)
		stored := map[int]*commit{}
		var running []Chunk
		for !l.full() {
			var c Chunk
			var ok bool
			switch r.IntN(5) {
			case 0, 1:
				if c, ok = l.next(time.Time{}); ok {
					if c.Floor > s.Floor {
						t.Fatalf("seed %d: chunk %d has the floor %v, the job %v", seed, c.Index, c.Floor, s.Floor)
					}
					running = append(running, c)
				}
			case 2, 3:
				if len(running) == 0 {
					continue
				}
				c, running = running[0], running[1:]
				failed := max(0, r.IntN(3*c.Items)-2*c.Items)
				n := c.Items - failed
				done := &commit{Result: Result{Answered: n, Failed: failed, Score: c.Floor.Times(n) + slo.Score(r.IntN(1+int(slo.AccuracyUnit-c.Floor))*r.IntN(2))*slo.Score(n)}}
				l.store(c.Index, done)
				stored[c.Index] = done
			case 4: // a crash
				l, running = newLedger(s), nil
				for k, done := range stored {
					l.store(k, done)
				}
			}
		}
		if l.answered > 0 && l.expected() < s.Floor {
			t.Fatalf("seed %d: expected %v, floor %v", seed, l.expected(), s.Floor)
		}
	}
}

// TestResultsFrom checks that results can be read from any item on.
func TestResultsFrom(t *testing.T) {
	inWorld(t, func(w *world, m *Manager, _ *access) {
		t := w.t
		job := submitted(t, m, testSpec(""))
		for _, from := range []int{0, 1, testChunk - 1, testChunk, 23, testItems} {
			next := from
			_, err := m.Results(t.Context(), "m", job.ID, from, func(lines []byte) error {
				for line := range bytes.Lines(lines) {
					if !bytes.HasPrefix(line, fmt.Appendf(nil, "{\"item\":%d,", next)) {
						t.Errorf("from %d: %.20s, want item %d", from, line, next)
					}
					next++
				}
				return nil
			})
			if err != nil || next != testItems {
				t.Errorf("from %d: read to %d, %v", from, next, err)
			}
		}
		if _, err := m.Results(t.Context(), "m", job.ID, testItems+1, nil); slo.KindOf(err) != slo.KindInvalid {
			t.Errorf("beyond the end: %v", err)
		}
	})
}
