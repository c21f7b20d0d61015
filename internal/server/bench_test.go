package server_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/tensor"
)

const digitsDir = "../../models/digits"

// BenchmarkServeAgainstBareLoop measures the cost of serving on top of the runtime:
// the saturated throughput of a server with policy all, with single requests over
// HTTP from more clients than fit in a batch, relative to a loop that runs the same
// variant in the largest batches on the same threads. The two alternate within one
// run, so that changes of the machine's speed cancel out. The ratio should be at
// least 0.90.
//
//	go test ./internal/server -run '^$' -bench AgainstBareLoop -benchtime 1x
func BenchmarkServeAgainstBareLoop(b *testing.B) {
	const (
		rounds = 5
		span   = 3 * time.Second
	)
	rt, err := ort.Open(b.Context(), ort.Config{})
	if err != nil {
		b.Fatal(err)
	}
	m, err := modelpkg.Load(digitsDir)
	if err != nil {
		b.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		b.Fatal(err)
	}
	all := slices.IndexFunc(m.Variants, func(v modelpkg.Variant) bool { return v.Modalities == m.AllModalities() })
	bare, err := rt.Load(b.Context(), m, runtime.Options{Threads: 1, Variants: []int{all}})
	if err != nil {
		b.Fatal(err)
	}
	s := startServer(b, func(cfg *server.Config) { cfg.Runtime, cfg.Policy = rt, plan.PolicyAll })
	for b.Loop() {
		var loops, serves []float64
		for range rounds {
			loops = append(loops, bareRate(b, bare, all, m, set, span))
			serves = append(serves, servedRate(b, s, m, set, span))
		}
		slices.Sort(loops)
		slices.Sort(serves)
		b.ReportMetric(loops[rounds/2], "bare-items/s")
		b.ReportMetric(serves[rounds/2], "served-items/s")
		b.ReportMetric(serves[rounds/2]/loops[rounds/2], "ratio")
	}
	if err := s.Shutdown(context.WithoutCancel(b.Context())); err != nil {
		b.Error(err)
	}
	if err := bare.Close(); err != nil {
		b.Error(err)
	}
}

// bareRate returns the items per second of a loop over one variant in full batches.
func bareRate(b *testing.B, instance runtime.Instance, variant int, m *modelpkg.Model, set *modelpkg.Set, span time.Duration) float64 {
	items := make([]runtime.Item, m.Limits.BatchItemsMax)
	began, n := time.Now(), 0
	for time.Since(began) < span {
		for i := range items {
			items[i] = set.Item((n + i) % set.Len())
		}
		if _, err := instance.Run(b.Context(), variant, items); err != nil {
			b.Fatal(err)
		}
		n += len(items)
	}
	return float64(n) / time.Since(began).Seconds()
}

// servedRate returns the items per second of a closed loop of single requests.
func servedRate(b *testing.B, s *server.Server, m *modelpkg.Model, set *modelpkg.Set, span time.Duration) float64 {
	callers := 3 * m.Limits.BatchItemsMax
	c, err := client.New("http://"+s.Addr().String(), client.Options{ConnectionsMax: callers})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var done atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for i := caller; time.Since(began) < span; i += callers {
				if _, err := c.Infer(b.Context(), request(m, set.Item(i%set.Len()))); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// request asks for one sample with all its modalities.
func request(m *modelpkg.Model, item [][]byte) client.Request {
	r := client.Request{Model: m.Name}
	for i, input := range m.Inputs {
		shape := append(tensor.Shape{1}, input.Shape...)
		r.Inputs = append(r.Inputs, tensor.Tensor{Name: input.Name, DType: input.DType, Shape: shape, Data: item[i]})
	}
	return r
}
