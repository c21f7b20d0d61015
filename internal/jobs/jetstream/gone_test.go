package jetstream

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/slo"
)

// echo answers each item with its number. It waits for a token before each chunk.
type echo struct{ tokens chan struct{} }

func (e echo) Open(context.Context, *jobs.Spec, []byte) (jobs.Work, error) { return e, nil }

func (e echo) Close() {}

func (e echo) Run(ctx context.Context, c jobs.Chunk) (r jobs.Result, err error) {
	select {
	case <-e.tokens:
	case <-ctx.Done():
		return r, slo.E("", slo.KindCancelled, "%w", ctx.Err())
	}
	for i := range c.Items {
		r.Lines = fmt.Appendf(r.Lines, "%d\n", c.First+i)
	}
	r.Answered, r.Score = c.Items, slo.AccuracyUnit.Times(c.Items)
	return r, nil
}

// TestBrokerGone stops the broker in the middle of a job: calls fail with a clear error,
// and the job goes on when the broker is back.
func TestBrokerGone(t *testing.T) {
	dir := t.TempDir()
	b := broker(t, dir, -1)
	port := b.Addr().(*net.TCPAddr).Port
	cfg := jobs.DefaultConfig()
	where := Config{URL: b.ClientURL(), Stream: "JOBS", BytesMax: 1 << 20}
	cfg.Open = func(ctx context.Context) (jobs.Store, error) { return Open(ctx, where) }
	m := jobs.New(cfg)
	defer m.Close()
	e := echo{make(chan struct{}, 100)}
	if err := m.Start(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	job, _, err := m.Submit(t.Context(), jobs.Spec{Model: "m", Items: 40, ChunkItems: 10}, []byte("input"))
	if err != nil {
		t.Fatal(err)
	}
	e.tokens <- struct{}{}
	until(t, "a chunk is stored", func() bool { job, err = m.Job("m", job.ID); return err == nil && job.Done == 10 })
	b.Shutdown()
	b.WaitForShutdown()
	e.tokens <- struct{}{} // its result cannot be stored
	until(t, "the broker is missed", func() bool { return m.Ready() != nil })
	if _, err := m.Job("m", job.ID); slo.KindOf(err) != slo.KindUnavailable {
		t.Errorf("without broker: %v", err)
	}
	broker(t, dir, port)
	for range 10 {
		e.tokens <- struct{}{}
	}
	until(t, "the broker is back", func() bool { return m.Ready() == nil })
	var lines []byte
	job, err = m.Results(t.Context(), "m", job.ID, 0, func(part []byte) error { lines = append(lines, part...); return nil })
	var want []byte
	for i := range 40 {
		want = fmt.Appendf(want, "%d\n", i)
	}
	if err != nil || job.State != jobs.StateCompleted || string(lines) != string(want) {
		t.Errorf("%+v, %v, %q", job, err, lines)
	}
}

// until waits until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !so(); {
		if time.Now().After(late) {
			t.Fatalf("not so after 20 s: %s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}
