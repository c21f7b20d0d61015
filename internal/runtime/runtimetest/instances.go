package runtimetest

import (
	"context"
	"errors"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

func (f *fixture) cancelled() {
	f.with(func(in runtime.Instance) {
		ctx, cancel := context.WithCancel(f.Context())
		cancel()
		_, err := in.Run(ctx, 0, f.items(1))
		if !errors.Is(err, context.Canceled) || slo.KindOf(err) != slo.KindCancelled {
			f.Errorf("after a cancel: %v (kind %v)", err, slo.KindOf(err))
		}
		late, cancel := context.WithTimeout(f.Context(), 0)
		defer cancel()
		_, err = in.Run(late, 0, f.items(1))
		if !errors.Is(err, context.DeadlineExceeded) || slo.KindOf(err) != slo.KindDeadlineExceeded {
			f.Errorf("after the deadline: %v (kind %v)", err, slo.KindOf(err))
		}
		f.run(in, 0, f.items(1))
	})
}

// cancellable runs under contexts that end at any time, and checks that the next run is
// not cancelled too.
func (f *fixture) cancellable() {
	f.with(func(in runtime.Instance) {
		items := f.items(1)
		want := f.run(in, 0, items)
		for range 20 {
			ctx, cancel := context.WithCancel(f.Context())
			go cancel()
			if _, err := in.Run(ctx, 0, items); err != nil && !errors.Is(err, context.Canceled) {
				f.Fatal(err)
			}
			f.near("item after a cancelled run", want[0], f.run(in, 0, items)[0].Data, want[0].Data)
		}
	})
}

func (f *fixture) some() {
	last := len(f.Model.Variants) - 1
	in := f.load(last)
	defer in.Close()
	f.run(in, last, f.items(1))
	if last > 0 {
		f.refuse(in, 0, f.items(1), slo.KindInvalid)
	}
}

func (f *fixture) options() {
	for _, opts := range []runtime.Options{
		{Threads: 0},
		{Threads: -1},
		{Threads: 1, Variants: []int{-1}},
		{Threads: 1, Variants: []int{0, len(f.Model.Variants)}},
	} {
		if _, err := f.runtime.Load(f.Context(), f.Model, opts); slo.KindOf(err) != slo.KindInvalid {
			f.Errorf("%+v: %v, want an error of kind invalid", opts, err)
		}
	}
}

// abandoned loads under contexts that have ended or end at any time. Such a load leaves
// nothing behind: the runtime can be closed.
func (f *fixture) abandoned() {
	ended, cancel := context.WithCancel(f.Context())
	cancel()
	late, cancel := context.WithTimeout(f.Context(), 0)
	defer cancel()
	for ctx, kind := range map[context.Context]slo.Kind{ended: slo.KindCancelled, late: slo.KindDeadlineExceeded} {
		in, err := f.runtime.Load(ctx, f.Model, runtime.Options{Threads: 1})
		if in != nil || !errors.Is(err, ctx.Err()) || slo.KindOf(err) != kind {
			f.Errorf("under a context that has ended: %v, %v (kind %v), want %v", in, err, slo.KindOf(err), kind)
		}
	}
	for range 10 {
		ctx, cancel := context.WithCancel(f.Context())
		go cancel()
		in, err := f.runtime.Load(ctx, f.Model, runtime.Options{Threads: 1})
		switch {
		case err == nil:
			f.run(in, 0, f.items(1)) // the context of the load must not matter any more
			if err := in.Close(); err != nil {
				f.Error(err)
			}
		case !errors.Is(err, context.Canceled) || in != nil:
			f.Errorf("%v, %v", in, err)
		}
	}
	f.with(func(in runtime.Instance) { f.run(in, 0, f.items(1)) })
}

// instances runs several instances at once, one of them with two threads.
func (f *fixture) instances() {
	items := f.items(2)
	reference := f.load()
	var want [][]tensor.Tensor
	for v := range f.Model.Variants {
		want = append(want, f.run(reference, v, items))
	}
	others := []runtime.Instance{f.load(), f.load()}
	threaded, err := f.runtime.Load(f.Context(), f.Model, runtime.Options{Threads: 2})
	if err != nil {
		f.Fatal(err)
	}
	others = append(others, threaded)
	if err := reference.Close(); err != nil { // must not affect the others
		f.Error(err)
	}
	done := make(chan error)
	for _, in := range others {
		go func() { done <- f.compareRuns(in, items, want) }()
	}
	for range others {
		if err := <-done; err != nil {
			f.Error(err)
		}
	}
}

// compareRuns runs every variant a few times, compares the answers with those of another
// instance, and closes the instance.
func (f *fixture) compareRuns(in runtime.Instance, items []runtime.Item, want [][]tensor.Tensor) error {
	for range 5 {
		for v := range want {
			out, err := in.Run(f.Context(), v, items)
			if err != nil {
				return errors.Join(err, in.Close())
			}
			f.near("another instance", out[0], out[0].Data, want[v][0].Data)
		}
	}
	return in.Close()
}

func (f *fixture) close() {
	in := f.load()
	f.run(in, 0, f.items(1))
	if err := in.Close(); err != nil {
		f.Fatal(err)
	}
	f.refuse(in, 0, f.items(1), slo.KindUnavailable)
	if err := in.Close(); err != nil {
		f.Errorf("the second Close: %v", err)
	}
}
