package ort

import (
	"cmp"
	"context"
	"runtime/debug"
	"sync"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// wanted is a graph that an instance needs.
type wanted struct {
	key    key
	choice choice
	step   modelpkg.Step // the first that runs it
}

// wants lists the graphs of variants, each once.
func (in *instance) wants(variants []int, threads int) (list []wanted, err error) {
	seen := map[key]bool{}
	for _, v := range variants {
		c, err := in.choose(v, threads)
		if err != nil {
			return nil, err
		}
		steps, paths := in.model.StepsOf(v)
		remotes := in.model.RemotesOf(v)
		for i, declared := range steps {
			if k := in.keyOf(paths[i], c); remotes[i] == nil && !seen[k] {
				seen[k] = true
				list = append(list, wanted{k, c, declared})
			}
		}
	}
	return list, nil
}

// loadGraphs loads the graphs of variants, as many at a time as there are cores. After an
// error no further one begins.
func (in *instance) loadGraphs(ctx context.Context, variants []int, threads int) error {
	list, err := in.wants(variants, threads)
	if err != nil {
		return err
	}
	files := &files{model: in.model}
	defer files.delete()
	next, found, errs := make(chan int), make([]*session, len(list)), make([]error, len(list))
	stop, failed := context.WithCancel(ctx)
	defer failed()
	var all sync.WaitGroup
	for range min(runtime.Cores(), len(list)) {
		all.Go(func() {
			for i := range next {
				if found[i], errs[i] = in.runtime.guardedAcquire(list[i], files); errs[i] != nil {
					failed()
				}
			}
		})
	}
	for i := 0; i < len(list) && stop.Err() == nil; i++ {
		select {
		case next <- i:
		case <-stop.Done():
		}
	}
	close(next)
	all.Wait()
	for i, s := range found {
		if errs[i] == nil && s != nil {
			in.keys[list[i].key] = s
		}
	}
	in.runtime.settlePool(in.model)
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return runtime.Ended("load "+in.model.Name, ctx.Err())
	}
	return nil
}

// guardedAcquire turns a panic in the binding into an error.
func (r *Runtime) guardedAcquire(w wanted, files *files) (s *session, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, slo.E("load "+w.key.model.Name, slo.KindInternal, "%w", &panicked{p, string(debug.Stack())})
		}
	}()
	return r.acquire(w, files)
}

// settlePool gives back what loading has used of a model's pool.
func (r *Runtime) settlePool(m *modelpkg.Model) {
	r.mu.Lock()
	p := r.pools[m]
	r.mu.Unlock()
	if p != nil {
		p.release()
	}
	trim()
}
