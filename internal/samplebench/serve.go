package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// callers is how many requests are in progress at a time.
const callers = 8

// outcome is what a way did with the held-out samples.
type outcome struct {
	rate    float64 // items per second of processor time
	right   float64 // sum of the scores
	samples int
}

// serve serves the held-out samples of a way once, in requests of jobItems.
func (b *bench) serve(ctx context.Context, w *way, floor slo.Accuracy) (o outcome, err error) {
	m := w.served.Model
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		return o, err
	}
	e, err := engine.New(ctx, engine.Config{Models: []engine.Served{w.served}, Policy: w.policy, Instances: 1, Threads: 1,
		QueueItemsMax: 1 << 20, QueueJobsMax: 1 << 20, Log: slog.New(slog.DiscardHandler)}, b.rt)
	if err != nil {
		return o, err
	}
	c := client{engine: e, model: m, set: set, floor: floor}
	var next atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	before := replay.ProcessCPU()
	for range callers {
		all.Go(func() {
			for {
				from := int(next.Add(1)-1) * jobItems
				if from >= set.Len() {
					return
				}
				right, failed := c.ask(ctx, from, min(jobItems, set.Len()-from))
				mu.Lock()
				o.right, err = o.right+right, errors.Join(err, failed)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	o.samples = set.Len()
	o.rate = float64(o.samples) / (replay.ProcessCPU() - before).Seconds()
	return o, errors.Join(err, e.Drain(ctx))
}

// client sends the samples of a set.
type client struct {
	engine *engine.Engine
	model  *modelpkg.Model
	set    *modelpkg.Set
	floor  slo.Accuracy
}

// ask sends a request with consecutive samples and returns the sum of the scores.
func (c *client) ask(ctx context.Context, from, n int) (right float64, err error) {
	r := engine.Request{Modalities: c.model.AllModalities(), Objective: slo.Objective{Floor: c.floor, Confidence: confidence, Deadline: slo.Never}}
	for i := range n {
		r.Items = append(r.Items, runtime.Item(c.set.Item(from+i)))
	}
	got, err := c.engine.Infer(ctx, c.model.Name, "", r)
	if err != nil {
		return 0, err
	}
	for i := range n {
		result, err := c.set.Score(got.Outputs[0], i, from+i)
		if err != nil {
			return 0, err
		}
		right += result.Score
	}
	return right, nil
}
