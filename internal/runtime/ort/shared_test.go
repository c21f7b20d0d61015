package ort

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// shipped returns a model of models/.
func shipped(t testing.TB, name string) *modelpkg.Model {
	t.Helper()
	m, err := modelpkg.Load(filepath.Join("../../../models", name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// answers runs each variant of a model with batches of several sizes of its samples.
func answers(t testing.TB, rt *Runtime, m *modelpkg.Model, threads int) (all [][]tensor.Tensor) {
	t.Helper()
	in, err := rt.Load(t.Context(), m, runtime.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for k, s := range rt.sessions {
		if s.pooled != (m.Files != nil) {
			t.Errorf("%s: loaded in two steps: %v", k.path, s.pooled)
		}
	}
	samples, err := m.FirstSamples(3)
	if err != nil {
		t.Fatal(err)
	}
	for v := range m.Variants {
		for _, sizes := range [][]int{{0}, {1}, {2, 1, 0}} {
			var items []runtime.Item
			for _, i := range sizes {
				items = append(items, m.Conform(samples[i].Item, samples[i].Sizes, v))
			}
			out, err := in.Run(t.Context(), v, items)
			if err != nil && len(items) == 1 { // several may have several lengths
				t.Fatal(err)
			}
			all = append(all, out)
		}
	}
	return all
}

func equal(t *testing.T, want, got [][]tensor.Tensor) {
	t.Helper()
	if len(want) != len(got) || len(want) == 0 {
		t.Fatalf("%d answers, not %d", len(got), len(want))
	}
	for i := range want {
		for o := range want[i] {
			if !want[i][o].Shape.Equal(got[i][o].Shape) || !bytes.Equal(want[i][o].Data, got[i][o].Data) {
				t.Fatalf("answer %d, output %s: not the same bits", i, want[i][o].Name)
			}
		}
	}
}

// TestOptimisedGraphsAnswerTheSame compares graphs that are loaded in one step with those
// that are loaded in two, share their weights and come from the cache: every bit of every
// answer, for all shipped models.
func TestOptimisedGraphsAnswerTheSame(t *testing.T) {
	for _, name := range []string{"digits", "digits_exits", "emoji", "mfeat", "sentiment"} {
		for _, threads := range []int{1, 2} {
			if threads == 2 && name != "digits" {
				continue
			}
			t.Run(fmt.Sprint(name, " ", threads), func(t *testing.T) {
				rt := open(t)
				defer rt.Close()
				m := shipped(t, name)
				plain := *m
				plain.Files = nil // nothing may be written beside its graphs
				want := answers(t, rt, &plain, threads)
				if len(rt.pools) != 0 {
					t.Error("a graph that is loaded in one step shares weights")
				}
				cache := t.TempDir()
				rt.Keep(cachedir.NewCache([]cachedir.Dir{cachedir.At(cache)}, cachedir.CacheBytesMax))
				for range 2 { // the second time from the cache
					equal(t, want, answers(t, rt, m, threads))
				}
				files, _ := filepath.Glob(filepath.Join(cache, "*"))
				if len(files) == 0 {
					t.Error("no graph was kept")
				}
				if name == "digits_exits" { // as with the others
					for _, file := range files {
						if err := os.Truncate(file, 100); err != nil {
							t.Fatal(err)
						}
					}
					equal(t, want, answers(t, rt, m, threads))
				}
				if len(rt.pools) != 0 || len(rt.sessions) != 0 {
					t.Errorf("%d pools and %d sessions are left", len(rt.pools), len(rt.sessions))
				}
			})
		}
	}
}

// TestAWrongGraphInTheCacheIsNotUsed has files in the cache that are whole but no graphs.
func TestAWrongGraphInTheCacheIsNotUsed(t *testing.T) {
	rt := open(t)
	defer rt.Close()
	m := shipped(t, "digits")
	cache := cachedir.NewCache([]cachedir.Dir{cachedir.At(t.TempDir())}, cachedir.CacheBytesMax)
	for _, v := range m.Variants {
		if err := cache.Put(rt.graphKey(key{model: m, path: v.Path}), []byte("no graph")); err != nil {
			t.Fatal(err)
		}
	}
	plain := *m
	plain.Files = nil
	want := answers(t, rt, &plain, 1)
	rt.Keep(cache)
	equal(t, want, answers(t, rt, m, 1))
}

// TestSharedWeightsOutliveOtherInstances loads, runs and closes instances of two models
// with the same files at the same time.
func TestSharedWeightsOutliveOtherInstances(t *testing.T) {
	rt := open(t)
	models := []*modelpkg.Model{shipped(t, "digits"), shipped(t, "digits")}
	samples, err := models[0].FirstSamples(1)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			m := models[worker%2]
			for round := range 3 {
				variants := []int{(worker + round) % len(m.Variants), (worker + 3*round + 1) % len(m.Variants)}
				in, err := rt.Load(t.Context(), m, runtime.Options{Threads: 1 + worker/2, Variants: variants})
				if err != nil {
					t.Error(err)
					return
				}
				for _, v := range variants {
					if _, err := in.Run(t.Context(), v, []runtime.Item{m.Conform(samples[0].Item, samples[0].Sizes, v)}); err != nil {
						t.Error(err)
					}
				}
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(rt.Close()); err != nil {
		t.Error(err)
	}
}
