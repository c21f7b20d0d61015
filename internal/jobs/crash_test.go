package jobs

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

var seeds = flag.Int("seeds", 20, "number of seeds of TestCrashes")

// disk is a store in memory that outlives processes.
type disk struct {
	mu     sync.Mutex
	values map[string][]byte
	order  []string // keys, as they were created
}

func newDisk() *disk { return &disk{values: map[string][]byte{}} }

var hashSeed = maphash.MakeSeed()

var errCrash = errors.New("the process has crashed")

// access is a process's access to a disk. With a probability each write fails, before or
// after it happened; at write crashAt the process crashes.
type access struct {
	disk    *disk
	rand    *rand.Rand
	trouble float64
	crashAt int // 0: never
	writes  int
	crashed chan struct{}
	full    bool
	down    bool // everything fails
}

func (a *access) dead() bool {
	if a.down {
		return true
	}
	select {
	case <-a.crashed:
		return true
	default:
		return false
	}
}

// write does a write, or fails.
func (a *access) write(do func() error) error {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	if a.dead() {
		return errCrash
	}
	a.writes++
	crash := a.writes == a.crashAt
	if crash {
		close(a.crashed)
	}
	if crash || a.rand.Float64() < a.trouble {
		switch a.rand.IntN(3) {
		case 0:
			_ = do()
		case 1: // it arrives later, perhaps when a later session or process is at work
			time.AfterFunc(time.Duration(a.rand.IntN(2000))*time.Millisecond, func() {
				a.disk.mu.Lock()
				defer a.disk.mu.Unlock()
				_ = do()
			})
		}
		return errCrash
	}
	return do()
}

func (a *access) Create(_ context.Context, key string, value []byte) error {
	return a.write(func() error {
		if _, ok := a.disk.values[key]; ok {
			return ErrExists
		}
		if a.full {
			return ErrFull
		}
		a.disk.values[key] = bytes.Clone(value)
		a.disk.order = append(a.disk.order, key)
		return nil
	})
}

func (a *access) Get(_ context.Context, key string) ([]byte, error) {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	if a.dead() {
		return nil, errCrash
	}
	if v, ok := a.disk.values[key]; ok {
		return bytes.Clone(v), nil
	}
	return nil, ErrNotFound
}

func (a *access) List(_ context.Context, prefix string) (keys []string, err error) {
	a.disk.mu.Lock()
	defer a.disk.mu.Unlock()
	if a.dead() {
		return nil, errCrash
	}
	for key := range a.disk.values {
		if strings.HasPrefix(key, prefix+".") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Delete removes the keys one by one: a crash may leave some.
func (a *access) Delete(ctx context.Context, prefix string) error {
	keys, err := a.List(ctx, prefix)
	if err != nil {
		return err
	}
	for _, key := range append(keys, prefix) {
		if err := a.write(func() error { delete(a.disk.values, key); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (a *access) Close() {}

// model answers an item with a value that is different in each attempt, so that a value
// that is replaced is seen. Its accuracy is the chunk's floor, or more.
type model struct {
	mu    sync.Mutex
	rand  *rand.Rand
	large bool // lines that need several pieces
	fail  func(s *Spec, c Chunk) error
	runs  int
	floor []slo.Accuracy // of the chunks, as they ran
}

type modelWork struct {
	*model
	spec *Spec
}

func (m *model) Open(_ context.Context, s *Spec, input []byte) (Work, error) {
	if len(input) != s.Items {
		return nil, slo.E("", slo.KindInvalid, "the input has %d bytes", len(input))
	}
	return modelWork{m, s}, nil
}

func (w modelWork) Close() {}

func (w modelWork) Run(ctx context.Context, c Chunk) (Result, error) {
	w.mu.Lock()
	w.runs++
	run, took := w.runs, time.Duration(w.rand.IntN(1000))*time.Millisecond
	gain := slo.Accuracy(w.rand.IntN(40_000) * w.rand.IntN(2))
	w.floor = append(w.floor, c.Floor)
	w.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return Result{}, slo.E("", slo.KindCancelled, "%w", ctx.Err())
	}
	if w.fail != nil {
		if err := w.fail(w.spec, c); err != nil {
			return Result{}, err
		}
	}
	r := Result{Answered: c.Items, Score: min(c.Floor+gain, slo.AccuracyUnit).Times(c.Items), Ran: map[string]int{"a": c.Items}}
	pad := ""
	if w.large {
		pad = strings.Repeat("x", ValueBytesMax/c.Items+1)
	}
	for i := range c.Items {
		r.Lines = fmt.Appendf(r.Lines, "{\"item\":%d,\"run\":%d,\"pad\":%q}\n", c.First+i, run, pad)
	}
	return r, nil
}

// world is a disk with what clients know of its jobs.
type world struct {
	t     *testing.T
	disk  *disk
	rand  *rand.Rand
	model *model
	known map[string]string // idempotency key to id, of accepted jobs
	seen  map[string]string // by job and item: the line
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	return &world{t: t, disk: newDisk(), rand: r, model: &model{rand: rand.New(rand.NewPCG(seed, 3)), large: seed%20 == 19}, known: map[string]string{}, seen: map[string]string{}}
}

// process starts a manager on the disk.
func (w *world) process(trouble float64, crashAt int) (*Manager, *access) {
	a := &access{disk: w.disk, rand: rand.New(rand.NewPCG(w.rand.Uint64(), 2)), trouble: trouble, crashAt: crashAt, crashed: make(chan struct{})}
	cfg := DefaultConfig()
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Open = func(context.Context) (Store, error) {
		a.disk.mu.Lock()
		defer a.disk.mu.Unlock()
		if a.dead() {
			return nil, errCrash
		}
		return a, nil
	}
	m := New(cfg)
	_ = m.Start(w.t.Context(), w.model) // it tries again
	return m, a
}

const testItems, testChunk = 60, 7

// testSpec is a job with a floor.
func testSpec(key string) Spec {
	return Spec{Client: "c", Key: key, Model: "m", Version: "1", Items: testItems, ChunkItems: testChunk, Floor: 900_000, Created: time.Now().Round(0)}
}

// submit submits a job until it is accepted or the process is gone.
func (w *world) submit(m *Manager, a *access, key string) {
	for !a.dead() {
		job, created, err := m.Submit(w.t.Context(), testSpec(key), bytes.Repeat([]byte{1}, testItems))
		if err == nil {
			if id, ok := w.known[key]; ok && (id != job.ID || created) {
				w.t.Fatalf("key %s: job %s, then %s (created: %v)", key, id, job.ID, created)
			}
			w.known[key] = job.ID
			return
		}
		if slo.KindOf(err) != slo.KindUnavailable {
			w.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// read reads what a job has, and compares it with what was read before.
func (w *world) read(ctx context.Context, m *Manager, id string) (job oip.Job, err error) {
	return m.Results(ctx, "m", id, 0, func(lines []byte) error {
		for line := range bytes.Lines(lines) {
			var item int
			if _, err := fmt.Fscanf(bytes.NewReader(line), "{\"item\":%d", &item); err != nil {
				return err
			}
			at, is := fmt.Sprintf("%s/%d", id, item), fmt.Sprintf("%.40s and in all %d", line, maphash.Bytes(hashSeed, line))
			if was, ok := w.seen[at]; ok && was != is {
				return fmt.Errorf("%s was %s and is %s", at, was, is)
			}
			w.seen[at] = is
		}
		return nil
	})
}

// TestCrashes crashes processes between any two writes, before or after the write, and
// loses answers of writes besides. No accepted job is lost, no item has two values, and
// every completed job keeps its floor.
func TestCrashes(t *testing.T) {
	for seed := range uint64(*seeds) {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { crashes(t, seed) })
		})
		if !ok {
			t.Fatalf("run it alone: go test ./internal/jobs -run TestCrashes/^%d$ -seeds %d", seed, seed+1)
		}
	}
}

func crashes(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	const jobs = 3
	for range 40 {
		m, a := w.process(0.02, 1+w.rand.IntN(25))
		for k := range jobs {
			w.submit(m, a, fmt.Sprint("key", k))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(w.rand.IntN(4000))*time.Millisecond)
		for _, id := range w.known {
			_, err := w.read(ctx, m, id)
			if kind := slo.KindOf(err); err != nil && kind != slo.KindCancelled && kind != slo.KindUnavailable {
				t.Fatal(err)
			}
		}
		cancel()
		m.Close()
	}
	m, a := w.process(0, 0)
	defer m.Close()
	for k := range jobs {
		w.submit(m, a, fmt.Sprint("key", k))
	}
	for key, id := range w.known {
		job, err := w.read(t.Context(), m, id)
		if err != nil {
			t.Fatal(err)
		}
		if job.State == StateFailed && strings.Contains(job.Reason, "was started") {
			continue // a process that crashes before every result is what this is for
		}
		if job.State != StateCompleted || job.Done != testItems || job.ExpectedAccuracy < job.MinAccuracy {
			t.Errorf("%s: %+v", key, job)
		}
		if stored := w.stored(id); stored.Float() != job.ExpectedAccuracy {
			t.Errorf("%s: the stored chunks are expected to score %v, the job says %v", key, stored, job.ExpectedAccuracy)
		}
		for i := range testItems {
			if _, ok := w.seen[fmt.Sprintf("%s/%d", id, i)]; !ok {
				t.Errorf("%s: item %d has no result", key, i)
			}
		}
	}
	time.Sleep(2 * tidyEvery)
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	for key := range w.disk.values {
		if kind := word(key, 0); kind == "in" || kind == "run" {
			t.Errorf("%s is left", key)
		}
	}
}

// stored is what the chunks of a job that are on the disk are expected to score.
func (w *world) stored(id string) slo.Accuracy {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	var score slo.Score
	for key, value := range w.disk.values {
		if strings.HasPrefix(key, "res."+id+".") {
			c, _, err := decodeCommit(value)
			if err != nil {
				w.t.Fatal(err)
			}
			score += c.Score
		}
	}
	return score.Mean(testItems)
}
