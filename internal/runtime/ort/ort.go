// Package ort runs models with ONNX Runtime inside the process: a batch costs one copy
// of its inputs and no round trip. It is the only package with cgo. It uses
// github.com/yalue/onnxruntime_go, which loads the shared library at run time, and,
// for values and runs, the library's own C interface (capi.go). Package library finds
// or installs the library.
//
// What is shared, and why, as measured with the seven fp32 graphs of models/digits
// (1.8 million weights) on two busy AVX-512 cores:
//
//   - Sessions. ONNX Runtime's Run may be called concurrently, and with one
//     intra-op thread it runs on the caller's thread. So instances of the same
//     Model value share one session per variant: a second instance adds no weights
//     and loads at once (without sharing: 52 MB and 0.2 s), at the same throughput.
//   - Working memory. All sessions allocate from one arena, registered with the
//     environment. Memory patterns (a block reserved for each session and shape)
//     are off: after batches of 32 on all variants this takes 67 MB instead of
//     364 MB, at the same speed. Without any arena, runs take 6 % more CPU.
//   - Weights. Graphs may keep their weights in one file, which is mapped into memory,
//     so graphs and processes share its pages. Weights of matrix products are packed:
//     in each session that takes 53 MB for the seven variants, without packing 12 MB, but
//     runs are 3 to 8 % slower. So packed weights are shared between the sessions of a
//     model (shared.go), for which graphs are loaded in two steps (optimise.go).
//   - Input buffers. An instance has one per input of the model, as large as the
//     largest batch so far, for all variants.
//
// Threads do not spin while they wait for work: with two intra-op threads beside
// other work, spinning took 9 to 11 ms of CPU per item instead of 5 to 5.5. With one
// thread, the default, nothing waits.
//
// Inputs are Go memory, pinned while a tensor of the library points to it, as cgo
// requires. Outputs are the library's memory and are copied once. That costs as much
// as clearing Go memory for them would, is correct for outputs that no operator writes
// (an input passed through, a weight), and allows checking their size first.
package ort

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Name is the runtime's name in profiles.
const Name = "onnxruntime"

// Config says where to look for the shared library. The zero value is the default for
// users.
type Config = library.Config

// Runtime is ONNX Runtime. All Runtimes of a process are handles of one environment,
// which the first Open makes and the last Close destroys.
type Runtime struct {
	version   string
	library   library.Location
	mu        sync.Mutex
	providers []modelpkg.Provider // that loads use; nil: plain CPU
	log       *slog.Logger        // of where operators run; nil: none
	told      map[string]bool     // graphs that have been logged
	sessions  map[key]*session    // sessions in use
	pools     map[*modelpkg.Model]*pool
	graphs    *cachedir.Cache // nil: optimised graphs are not kept
	closed    bool
	loading   int           // loads in progress
	settled   chan struct{} // closed when no load is in progress; made with the first
}

var _ runtime.Runtime = (*Runtime)(nil)

// environment is the process's ONNX Runtime. The holder of turn may use it.
var environment = struct {
	turn     chan struct{} // a lock that can be waited for with a context
	users    int
	version  string
	library  library.Location
	shrinker *shrinker
}{turn: make(chan struct{}, 1)}

// Open finds or installs the shared library, loads it and makes the process's
// environment, or uses the existing one. Errors have kind not found, unavailable
// (nothing to install from), unsupported (no build for this machine), invalid
// (MOSEL_ONNXRUNTIME is wrong) or cancelled, and say what was tried and what to do.
func Open(ctx context.Context, config Config) (*Runtime, error) {
	select {
	case environment.turn <- struct{}{}:
		defer func() { <-environment.turn }()
	case <-ctx.Done():
		return nil, slo.E("open ONNX Runtime", slo.KindCancelled, "%w", ctx.Err())
	}
	if environment.users == 0 {
		at, err := config.Find(ctx, initialise)
		if err != nil {
			return nil, err
		}
		environment.library, environment.version = at, onnx.GetVersion()
	}
	environment.users++
	return &Runtime{version: environment.version, library: environment.library, sessions: make(map[key]*session), pools: map[*modelpkg.Model]*pool{}, told: map[string]bool{}}, nil
}

// telemetryVariable disables what official builds from 1.29 on do when they are
// initialised: they store an identifier of this machine in the user's cache and send
// events to Microsoft. Servers should not report what they run. To enable telemetry,
// set the variable to 0.
const telemetryVariable = "ORT_DISABLE_TELEMETRY"

// initialise loads a library and makes the environment.
func initialise(at library.Location) error {
	if _, set := os.LookupEnv(telemetryVariable); !set {
		if err := os.Setenv(telemetryVariable, "1"); err != nil {
			return err
		}
	}
	if err := readOnce(at.Path); err != nil {
		return err
	}
	catchDivisions()
	onnx.SetSharedLibraryPath(at.Path)
	// Errors are returned; ONNX Runtime would also write them to standard error.
	if err := onnx.InitializeEnvironment(onnx.WithLogLevelFatal()); err != nil {
		return fmt.Errorf("it cannot be loaded (%w); version %s or later is needed", err, library.Oldest)
	}
	if err := configure(at.Path); err != nil {
		closeTable()
		return errors.Join(err, onnx.DestroyEnvironment())
	}
	return nil
}

// readOnce reads a library before it is loaded. If the disk does not answer, only the
// caller hangs here. Inside the system's loader the whole process would hang, because
// no thread can be created while the loader holds its lock.
func readOnce(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}

// configure registers the arena that all sessions share, and makes the shrinker.
func configure(path string) error {
	if err := openTable(path); err != nil {
		return err
	}
	memory, err := onnx.GetMemoryInfo()
	if err != nil {
		return err
	}
	arena, err := onnx.NewArenaCfg(arenaBytesMax(), -1, -1, -1)
	if err != nil {
		return err
	}
	defer arena.Destroy()
	if err := onnx.CreateAndRegisterAllocator(memory, arena); err != nil {
		return err
	}
	environment.shrinker, err = newShrinker()
	return err
}

// Name returns "onnxruntime".
func (*Runtime) Name() string { return Name }

// Version returns the version of the loaded library, e.g. "1.26.0".
func (r *Runtime) Version() string { return r.version }

// Library returns the loaded shared library.
func (r *Runtime) Library() library.Location { return r.library }

// closeWait is how long Close waits for abandoned loads.
const closeWait = time.Second

// Close releases the runtime. It fails while instances are open; a second Close does
// nothing. If loads whose context has ended are not done within a second, the library
// stays in memory: Close returns an error and may be called again.
func (r *Runtime) Close() error {
	const op = "close ONNX Runtime"
	if !r.settle() {
		return slo.E(op, slo.KindUnavailable, "a model is still being loaded, although nobody waits for it any more")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	if n := len(r.sessions); n > 0 || r.loading > 0 {
		return slo.E(op, slo.KindInternal, "%d sessions are in use: close the instances first", n)
	}
	r.closed = true
	environment.turn <- struct{}{}
	defer func() { <-environment.turn }()
	if environment.users--; environment.users > 0 {
		return nil
	}
	err := environment.shrinker.close()
	closeTable()
	if err := errors.Join(err, onnx.DestroyEnvironment()); err != nil {
		return slo.E(op, slo.KindInternal, "%w", err)
	}
	return nil
}

// begin counts a starting load. It returns false if the runtime is closed.
func (r *Runtime) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if r.loading++; r.loading == 1 {
		r.settled = make(chan struct{})
	}
	return true
}

func (r *Runtime) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loading--; r.loading == 0 {
		close(r.settled)
	}
}

// settle waits for loads, for at most closeWait.
func (r *Runtime) settle() bool {
	r.mu.Lock()
	loading, settled := r.loading, r.settled
	r.mu.Unlock()
	if loading == 0 {
		return true
	}
	select {
	case <-settled:
		return true
	case <-time.After(closeWait):
		return false
	}
}
