package engine

import (
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Request is one job: n items for a model under one objective. A single
// inference is a job of one item.
type Request struct {
	ID         string         // the client's name for it, for explaining; may be empty
	Client     string         // who asks: what one asks for does not starve the others; "" is nobody known
	Modalities slo.Modalities // present in every item; with Mixed, in any
	Choice     slo.Modalities // not 0: run exactly this subset of them
	Items      []runtime.Item // at least one; read until Infer returns, or longer, see Response.Held
	// Encoded says of which inputs the items hold a file, from which the input is made
	// before it runs, and only if it runs; nil: of none.
	Encoded   []bool
	Objective slo.Objective // Deadline on the engine's clock, see Engine.Now
	// Mixed says what the items carry where that differs: it adds up to Items. Nil:
	// Modalities and Choice hold for all.
	Mixed []slo.Carried
}

// Response is a finished job.
type Response struct {
	Job              string          // its id, by which it can be explained
	Outputs          []tensor.Tensor // the model's outputs, first dimension = items, in the items' order
	Variants         []int           // per item: the variant that ran it
	Modalities       slo.Modalities  // union of what was run
	Failed           []ItemError     // the items that have no answer, by index; their rows mean nothing
	ExpectedAccuracy slo.Accuracy    // expected mean over the items that have an answer
	Outcome          slo.Outcome     // OnTime or Late; everything else is an error
	Queue            time.Duration   // from arrival to the start of the first batch
	Compute          time.Duration   // summed over the batches its items ran in
	// Started is when its first batch was, 0 where there was none, and Ended when it
	// was over, on the engine's clock. Beside an error, Job, Compute and these two
	// are all there is, where it became a job.
	Started, Ended slo.Instant
	// Held says, beside an error, that a batch which does not end yet may still read
	// the request's items: their memory must not be used anew.
	Held bool
}

// ItemError says why an item has no answer.
type ItemError struct {
	Item int
	Err  error
}
