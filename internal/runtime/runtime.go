// Package runtime is the contract between mosel and whatever runs a model's
// graphs: ONNX Runtime in the process (ort), another server (remote), or a stand-in
// that takes the time its profile says (fake). Two packages call it,
// the engine and the profiler, so the interface has a leaf of its own; every
// implementation passes the conformance suite in runtimetest.
package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/tensor"
)

// Runtime loads models. It is safe for concurrent use.
type Runtime interface {
	// Name and Version identify the software, e.g. "onnxruntime", "1.24.3".
	Name() string
	Version() string
	// Load makes one instance of the model with every variant of opts ready to
	// run. Errors have kind invalid (the graph is at fault), not found, unavailable
	// (where it is to run cannot be reached now), cancelled or deadline exceeded (ctx
	// ended first; what is loading ends by itself), or internal.
	Load(ctx context.Context, m *modelpkg.Model, opts Options) (Instance, error)
	// Close releases the runtime. All its instances must be closed first.
	Close() error
}

// ErrLost is in the error chain of a Run if the instance itself has failed and cannot
// run anything more. Its owner must close it; the items may run elsewhere. After any
// other error the instance is still usable.
var ErrLost = errors.New("the instance is lost")

// ErrCrashed is ErrLost for a run that is to blame, as far as can be known: the
// instance ended during it. Its items do not run again, for they would end the next one.
var ErrCrashed = fmt.Errorf("%w: it ended during the run", ErrLost)

// Options configure one instance.
type Options struct {
	Threads  int   // intra-op threads, >= 1
	Variants []int // indices into Model.Variants; nil loads all
}

// Item is one sample: the bytes of each of the model's inputs, indexed as Model.Inputs,
// without a batch dimension. Inputs of modalities that the sample does not carry are
// nil. The instance only reads the bytes and does not keep them.
type Item [][]byte

// Instance runs up to Slots batches at a time. An instance with one slot is not safe
// for concurrent use: its owner must make one call of Run at a time, because its
// buffers are reused.
type Instance interface {
	// Slots returns how many calls of Run may be in progress at the same time: at least
	// 1, and always the same number.
	Slots() int
	// Run executes the variant on the items, 1 <= len(items) <=
	// Limits.BatchItemsMax. The outputs are those of Model.OutputsOf, in order,
	// with a first dimension of len(items); their bytes are the caller's to
	// keep. Errors have kind invalid (the batch breaks the contract, or the graph
	// cannot process what is in it), too large (the batch, or an output of a size
	// that depends on the data), cancelled or deadline exceeded (ctx ended the run
	// early; its error is in the chain), unavailable (closed, ErrLost, or no answer from
	// where it runs), overloaded (it is shed there) or internal (the graph failed).
	// A failed run leaves the instance usable, except for ErrLost.
	Run(ctx context.Context, variant int, items []Item) ([]tensor.Tensor, error)
	// Close frees the instance; a second Close does nothing. It must not be called
	// during Run.
	Close() error
}
