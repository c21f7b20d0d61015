package ort

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// key identifies a session that instances may share. It has the Model value, so a
// package that was read again, and may have changed, gets new sessions.
type key struct {
	model     *modelpkg.Model
	path      string    // of the graph, in the package
	providers string    // that run it; "": plain CPU
	owner     *instance // nil: shared. Sessions with threads of their own are not.
}

// session is a loaded graph and the number of instances that use it.
type session struct {
	graph  interface{ Destroy() error }
	handle handle
	pooled bool          // it uses the model's pool
	users  int           // guarded by Runtime.mu
	loaded chan struct{} // closed when it is loaded, or err is set
	err    error
	proven atomic.Bool // a run has succeeded
}

// use takes over a loaded graph.
func (s *session) use(graph *onnx.DynamicAdvancedSession) (err error) {
	if s.handle, err = handleOf(graph, "s", "ortSession"); err != nil {
		return errors.Join(err, graph.Destroy())
	}
	s.graph = graph
	return nil
}

func (s *session) destroy() error { return s.graph.Destroy() }

// acquire returns the session of a graph. It loads the graph unless another instance
// has, and waits if another one is loading it. Nothing else waits meanwhile.
func (r *Runtime) acquire(w wanted, files *files) (*session, error) {
	k := w.key
	r.mu.Lock()
	s := r.sessions[k]
	if s != nil {
		s.users++
		r.mu.Unlock()
		<-s.loaded
		return s, s.err
	}
	s = &session{users: 1, loaded: make(chan struct{}), err: errors.New("the graph could not be loaded")}
	r.sessions[k] = s
	r.mu.Unlock()
	defer func() {
		if s.err != nil {
			r.mu.Lock()
			delete(r.sessions, k)
			r.mu.Unlock()
		}
		close(s.loaded)
	}()
	dir, err := files.dir()
	if err != nil {
		s.err = err
		return nil, err
	}
	if s.err = r.fill(s, w, dir); s.err == nil {
		r.tell(k, s)
	}
	return s, s.err
}

// choice is how an instance runs a variant.
type choice struct {
	variant   int
	threads   int
	providers []modelpkg.Provider
}

// release gives a session back. The last user frees it.
func (r *Runtime) release(k key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[k]
	if s.users--; s.users > 0 {
		return nil
	}
	delete(r.sessions, k)
	err := s.destroy()
	if s.pooled {
		r.leavePool(k.model)
	}
	environment.shrinker.shrink()
	return err
}

func variantName(m *modelpkg.Model, variant int) string {
	return m.Name + "/" + m.Variants[variant].Name
}

// files is a private copy of a model's files to load graphs from. A session maps
// weights in external files into memory while it exists; if somebody overwrote these
// files, the process would crash. The copy is made when it is needed and deleted when
// everything is loaded: the mapped pages stay, and nobody else can change them.
type files struct {
	model  *modelpkg.Model
	mu     sync.Mutex
	copied string
}

// private reports whether dir is a copy, in which other files may be made.
func private(m *modelpkg.Model) bool { return m.Files != nil }

func (f *files) dir() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.copied != "" {
		return f.copied, nil
	}
	if !private(f.model) { // not read from a package: the files' digests are unknown
		return f.model.Dir, nil
	}
	op := "load " + f.model.Name
	dir, err := os.MkdirTemp("", "mosel-")
	if err != nil {
		return "", slo.E(op, slo.KindInternal, "%w", err)
	}
	f.copied = dir
	if err := f.model.Copy(dir); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return dir, nil
}

func (f *files) delete() {
	if f.copied != "" {
		_ = os.RemoveAll(f.copied) // what remains is in the system's temporary directory
	}
}

// fill loads a graph, in two steps if that can be done.
func (r *Runtime) fill(s *session, w wanted, dir string) error {
	k, c := w.key, w.choice
	if private(k.model) && modelpkg.PlainCPU(c.providers) {
		err := keepSignalStack(func() error {
			graph, err := r.loadInTwoSteps(k, c.threads, dir)
			if err == nil {
				s.graph, s.handle, s.pooled = graph, graph.handle, true
			}
			return err
		})
		if err == nil {
			return nil
		}
	}
	return s.load(k, c, w.step, dir)
}

// load makes the session from a graph's file in a directory. The binding needs names of
// inputs and outputs, which the first variant's step gives; runs use their own.
func (s *session) load(k key, c choice, step modelpkg.Step, dir string) error {
	op := "load " + variantName(k.model, c.variant)
	file := filepath.Join(dir, filepath.FromSlash(k.path))
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return slo.E(op, slo.KindNotFound, "%w", err)
	}
	var inputs []string
	for _, source := range step.Inputs {
		inputs = append(inputs, source.Name)
	}
	return keepSignalStack(func() error {
		options, err := sessionOptions(c.threads, c.providers)
		if err != nil {
			return slo.E(op, slo.KindInternal, "%w", err)
		}
		defer options.Destroy() //nolint:errcheck // the session has its own copy, and Destroy fails only for nil
		graph, err := onnx.NewDynamicAdvancedSession(file, inputs, step.Outputs, options)
		if err != nil {
			return slo.E(op, slo.KindInvalid, "%s: %w", k.path, c.explained(err))
		}
		if err := s.use(graph); err != nil {
			return slo.E(op, slo.KindInternal, "%w", err)
		}
		return nil
	})
}

// explained is an error of a graph that cannot be loaded.
func (c choice) explained(err error) error {
	f := &failure{message: err.Error()}
	if !modelpkg.PlainCPU(c.providers) && !slices.Contains(c.providers, modelpkg.CPU) && strings.Contains(f.message, "fallback to CPU EP has been explicitly disabled") {
		return fmt.Errorf("some of its operators cannot run on %s: end --providers with cpu to run these on the processor (%w)", modelpkg.ProviderNames(c.providers), f)
	}
	return f
}

// sessionOptions returns the options for every graph; the package comment has the
// measurements behind them.
func sessionOptions(threads int, providers []modelpkg.Provider) (*onnx.SessionOptions, error) {
	o, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(threads),
		o.SetInterOpNumThreads(1),
		o.SetExecutionMode(onnx.ExecutionModeSequential),
		o.SetGraphOptimizationLevel(onnx.GraphOptimizationLevelEnableAll),
		o.SetMemPattern(false),
		o.AddSessionConfigEntry("session.use_env_allocators", "1"),
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		addProviders(o, threads, providers),
	)
	if err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}
