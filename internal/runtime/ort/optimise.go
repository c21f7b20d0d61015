package ort

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// Graphs on the processor are loaded in two steps. First, ONNX Runtime optimises a graph
// and writes the result to a file, which a cache keeps for the next start. Then the
// optimised graph is loaded without further optimisation. That has two advantages: the
// first step is saved when the file is there, and weights may be shared between sessions.
// Otherwise they may not, since an optimisation may replace a weight under the same name.

// graphBytesMax is the size of an ONNX file, without weights in other files, from which it
// is loaded in one step: it would be written and read with all its weights.
const graphBytesMax = 64 << 20

// Keep makes later loads keep optimised graphs in a cache, and use those that it has.
func (r *Runtime) Keep(cache *cachedir.Cache) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.graphs = cache
}

var errOneStep = errors.New("the graph is loaded in one step")

// loadInTwoSteps loads a graph of a private directory. After an error, it can be loaded
// in one step.
func (r *Runtime) loadInTwoSteps(k key, threads int, dir string) (*sharing, error) {
	file := filepath.Join(dir, filepath.FromSlash(k.path))
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > graphBytesMax {
		return nil, errOneStep
	}
	name := strings.TrimSuffix(file, ".onnx") + ".optimised.onnx"
	r.mu.Lock()
	cache := r.graphs
	r.mu.Unlock()
	if cache != nil {
		if graph, ok := cache.Get(r.graphKey(k)); ok {
			err := os.WriteFile(name, graph, 0o600)
			if err == nil {
				var s *sharing
				if s, err = r.loadOptimised(k, threads, dir, name, graph); err == nil {
					return s, nil
				}
			}
		}
	}
	if err := optimise(file, name); err != nil {
		return nil, err
	}
	graph, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s, err := r.loadOptimised(k, threads, dir, name, graph)
	if err == nil && cache != nil {
		_ = cache.Put(r.graphKey(k), graph) // the next start is slower, no more
	}
	return s, err
}

// loadOptimised loads an optimised graph with the weights of the model's pool. dir is the
// model's directory.
func (r *Runtime) loadOptimised(k key, threads int, dir, name string, graph []byte) (s *sharing, err error) {
	options, err := sessionOptions(threads, nil)
	if err != nil {
		return nil, err
	}
	defer options.Destroy() //nolint:errcheck // the session has its own copy, and Destroy fails only for nil
	if err := options.SetGraphOptimizationLevel(onnx.GraphOptimizationLevelDisableAll); err != nil {
		return nil, err
	}
	p := r.takePool(k.model)
	defer func() {
		if s == nil { // also after a panic
			r.mu.Lock()
			defer r.mu.Unlock()
			r.leavePool(k.model)
		}
	}()
	container, err := p.share(options, graph, dir, filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	return newSharing(name, options, container)
}

// graphKey names the optimised form of a graph in the cache.
func (r *Runtime) graphKey(k key) string {
	return cachedir.Key(k.model.Digest, k.path, r.version, string(modelpkg.CPU), optimisedWith)
}

// optimisedWith names the options that optimised graphs depend on.
const optimisedWith = "all, one thread"

// optimise writes the optimised form of a graph to a file.
func optimise(file, name string) error {
	options, err := sessionOptions(1, nil)
	if err != nil {
		return err
	}
	defer options.Destroy() //nolint:errcheck // the session has its own copy, and Destroy fails only for nil
	if err := options.AddSessionConfigEntry("session.disable_prepacking", "1"); err != nil {
		return err
	}
	if err := writeOptimised(options, name); err != nil {
		return err
	}
	s, err := newSharing(file, options, nil)
	if err != nil {
		return err
	}
	return s.Destroy()
}
