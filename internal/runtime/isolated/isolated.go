// Package isolated runs the graphs of a model in processes of their own, one for each
// instance: workers, which are this program started again with "worker". A graph that
// ends its process (a signal that the processor raises, an abort of the library, too
// much memory) takes down the batch that did it, and nothing else.
//
// A worker gets a socket, which has no name, and nothing else of the server's: no
// files, and of the environment only what Config says. It ends when the socket closes,
// so also when the server is killed. The server kills it when its instance is closed,
// or when a run does not end that was told to.
//
// Tensors are copied through the socket, once into the system and once out of it. The
// package documentation of the runtime (docs/runtime.md) says what that costs.
package isolated

import (
	"context"
	"errors"
	"log/slog"
	"os"
	goruntime "runtime"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config says how workers are started.
type Config struct {
	// Name and Version are those of the runtime that the workers open.
	Name, Version string
	// Command starts a worker; nil: this program, with the argument "worker".
	Command []string
	// Arguments come after the command.
	Arguments []string
	// Env is all of a worker's environment.
	Env []string
	// Log gets what workers write to their standard error, with the model's name.
	Log *slog.Logger
}

// Runtime starts a worker for each instance.
type Runtime struct{ config Config }

var _ runtime.Runtime = (*Runtime)(nil)

// New makes a runtime.
func New(config Config) *Runtime {
	if config.Command == nil {
		config.Command = []string{self(), "worker"}
	}
	return &Runtime{config}
}

// self is this program, also after its file has been replaced.
func self() string {
	if goruntime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// Name is that of the runtime in the workers.
func (r *Runtime) Name() string { return r.config.Name }

// Version is that of the runtime in the workers.
func (r *Runtime) Version() string { return r.config.Version }

// Close does nothing: workers end with their instances.
func (*Runtime) Close() error { return nil }

// Load starts a worker and has it load the model. When ctx ends, the worker is killed.
// Errors are those of the runtime in the worker, and internal when the worker ended.
func (r *Runtime) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	op := "load " + m.Name
	if ctx.Err() != nil {
		return nil, ended(op, ctx.Err())
	}
	own, remove, err := copied(m)
	if err != nil {
		return nil, err
	}
	defer remove()
	w, err := start(r.config, m.Name)
	if err != nil {
		return nil, slo.E(op, slo.KindInternal, "its process cannot be started: %w", err)
	}
	in := &instance{model: m, worker: w}
	err = in.load(ctx, &loadMessage{Model: own, Options: opts})
	switch {
	case err == nil:
		return in, nil
	case ctx.Err() != nil:
		err = ended(op, ctx.Err())
	case errors.Is(err, runtime.ErrLost):
		err = slo.E(op, slo.KindInternal, "the process that loads it ended: %s", w.end())
	}
	return nil, errors.Join(err, in.Close())
}

// copied is a model with a copy of its files, which are those that were checked,
// whatever becomes of the package. A worker reads no other files of it.
func copied(m *modelpkg.Model) (own *modelpkg.Model, remove func(), err error) {
	c := *m
	if m.Files == nil { // not read from a package
		return &c, func() {}, nil
	}
	if c.Dir, err = os.MkdirTemp("", "mosel-"); err != nil {
		return nil, nil, slo.E("load "+m.Name, slo.KindInternal, "%w", err)
	}
	remove = func() { _ = os.RemoveAll(c.Dir) } // what is left is in the system's directory for such
	if err := m.Copy(c.Dir); err != nil {
		remove()
		return nil, nil, err
	}
	c.Files = nil // they have been compared
	return &c, remove, nil
}

// ended is the error of what a context ended.
func ended(op string, err error) error {
	kind := slo.KindCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		kind = slo.KindDeadlineExceeded
	}
	return slo.E(op, kind, "%w", err)
}
