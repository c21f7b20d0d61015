package engine

import (
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Request is one job: n items for a model with one objective. A single inference is a
// job of one item.
type Request struct {
	ID         string         // the client's name for it, for Explain; may be empty
	Client     string         // the sender, for fair sharing; "" is unknown
	Modalities slo.Modalities // present in every item; with Mixed, in any item
	Choice     slo.Modalities // not 0: run exactly this subset
	Items      []runtime.Item // at least one; read until Infer returns, or longer, see Response.Held
	// Encoded says of which inputs the items hold a file, from which the input is made
	// before it runs, and only if it runs; nil: of none.
	Encoded []bool
	// Shapes are those of an item's inputs. Only inputs with more than one dimension of -1
	// need them; the sizes of others follow from their bytes.
	Shapes    []tensor.Shape
	Objective slo.Objective // Deadline on the engine's clock, see Engine.Now
	// Mixed says what the items carry where that differs: it adds up to Items. Nil:
	// Modalities and Choice hold for all.
	Mixed []slo.Carried
}

// Response is the result of a job.
type Response struct {
	Job              string          // the job's id, for Explain
	Outputs          []tensor.Tensor // the model's outputs; first dimension = items, in the items' order
	Variants         []int           // by item: the variant that answered it
	Routes           []RouteTaken    // by item: the route that it took; nil: no item took one of several steps
	Modalities       slo.Modalities  // union over the variants that ran
	Failed           []ItemError     // items without an answer, by index; their rows mean nothing
	ExpectedAccuracy slo.Accuracy    // expected mean over the items with an answer
	AccuracyLow      slo.Accuracy    // lower bound of ExpectedAccuracy, at the objective's confidence or ConfidenceShown; 0: not known
	Outcome          slo.Outcome     // OnTime or Late; everything else is an error
	Queue            time.Duration   // from arrival to the start of the first batch
	Compute          time.Duration   // sum over the batches of its items
	// Started is the start of the first batch, 0 if there was none, and Ended the end
	// of the job, on the engine's clock. Together with an error, only Job, Compute,
	// Started, Ended and Held are set, if there was a job.
	Started, Ended slo.Instant
	// Held, together with an error, means that a batch that has not ended may still
	// read the request's items: their memory must not be reused.
	Held bool
}

// ItemError says why an item has no answer.
type ItemError struct {
	Item int
	Err  error
}
