package repository_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/repository"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestEverybodyAtOnce changes files, and loads, unloads, lists and calls models, all at
// the same time. Calls either find a model or do not, and get their own answers. At the
// end, what is on disk is served.
func TestEverybodyAtOnce(t *testing.T) {
	d := open(t, first, second)
	stays := pack{"stays", "stays", "1", 2}
	d.write(stays)
	d.settle()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	repeat := func(act func(*rand.Rand)) {
		for i := range uint64(2) {
			random := rand.New(rand.NewPCG(i, 1))
			wg.Go(func() {
				for ctx.Err() == nil {
					act(random)
				}
			})
		}
	}
	names := []string{"first", "second", "third", "nosuch"}
	repeat(func(*rand.Rand) { d.Poll() })
	repeat(func(random *rand.Rand) {
		if err := d.Load(names[random.IntN(len(names))]); slo.KindOf(err) == slo.KindInternal && err != nil {
			t.Errorf("load: %v", err)
		}
	})
	repeat(func(random *rand.Rand) {
		if err := d.Unload(names[random.IntN(len(names))]); err != nil && slo.KindOf(err) != slo.KindNotFound {
			t.Errorf("unload: %v", err)
		}
	})
	repeat(func(*rand.Rand) {
		d.Found()
		for _, e := range d.Index() {
			if e.Name == "stays" && (e.State != repository.Ready || e.Reason != "") {
				t.Errorf("index: %+v", e)
			}
		}
	})
	repeat(func(random *rand.Rand) {
		name := append(names, "stays")[random.IntN(len(names)+1)]
		item := runtime.Item{[]byte{1, 2, 3, 4}}
		_, err := d.engine.Infer(ctx, name, "", engine.Request{Modalities: 1, Items: []runtime.Item{item}, Objective: slo.Objective{Deadline: slo.Never}})
		if err != nil && ctx.Err() == nil && (name == "stays" || slo.KindOf(err) != slo.KindNotFound) {
			t.Errorf("infer %s: %v", name, err)
		}
	})
	for i := range 6 {
		d.write(pack{"first", "first", []string{"1", "2"}[i%2], 2 + i%3})
		d.write(pack{"third", "third", "1", 2 + i%3})
		d.Poll()
		d.remove("third")
		d.Poll()
	}
	stop()
	wg.Wait()
	last := pack{"first", "first", "3", 2}
	d.write(last)
	for _, name := range []string{"first", "second"} {
		d.must(d.Load(name))
	}
	d.settle()
	d.serves("in the end", last, second, stays)
	if counts, _ := d.engine.Counts(); counts.Jobs != 0 || counts.Arrived != counts.Finished {
		t.Errorf("left over: %+v", counts)
	}
}
