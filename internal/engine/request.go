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
	Modalities slo.Modalities // present in every item
	Choice     slo.Modalities // not 0: run exactly this subset of them
	Items      []runtime.Item // at least one; read until Infer returns
	Objective  slo.Objective  // Deadline on the engine's clock, see Engine.Now
}

// Response is a finished job.
type Response struct {
	Job              string          // its id, by which it can be explained
	Outputs          []tensor.Tensor // the model's outputs, first dimension = items, in the items' order
	Variants         []int           // per item: the variant that ran it
	Modalities       slo.Modalities  // union of what was run
	ExpectedAccuracy slo.Accuracy    // expected mean over the job
	Outcome          slo.Outcome     // OnTime or Late; everything else is an error
	Queue            time.Duration   // from arrival to the start of the first batch
	Compute          time.Duration   // summed over the batches its items ran in
	// Started is when its first batch was, 0 where there was none, and Ended when it
	// was over, on the engine's clock. Beside an error, Job, Compute and these two
	// are all there is, where it became a job.
	Started, Ended slo.Instant
}
