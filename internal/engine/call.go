package engine

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// call is a request in progress. The loop owns it until done is closed; then the caller
// does.
type call struct {
	Request
	served  *deployment
	ids     *obs.JobIDs
	job     sched.JobID
	arrived slo.Instant
	started slo.Instant // start of the first batch; 0: not yet
	ended   slo.Instant
	compute time.Duration
	batch   sched.BatchID // the last batch counted in compute
	done    chan struct{}
	finish  sched.FinishJob

	files    [][]bool         // by item: Encoded without the texts of which ids were made; nil: Encoded, of every item
	sizes    slo.Sizes        // of every item, unless Mixed says more
	own      [][]tensor.Shape // by item and input: the shapes before they were filled up; nil: no output follows them
	outputs  []tensor.Tensor
	texts    []gathered     // by output, with outputs; nil: one part brought all
	variants []int          // of the model
	ran      slo.Modalities // of all steps that ran
	taken    []taken        // by item, of a model with routes of several steps; else nil
	kept     [][]keptRow    // by item: what stages computed for its next step; nil: nothing. The loop's until the job has ended
	failed   []ItemError    // in the order of failure
	err      error          // of the last failed batch
	// answered means that the caller got its answer while a batch still ran. From then
	// on the fields that result reads belong to the caller.
	answered bool

	background bool // a shadow run, of the core's route
	route      int

	// These are for subscribers of the feed, until the job has ended. Only the loop
	// uses them.
	event     sched.Event // the job's Arrive
	submitted slo.Instant
	left      int // items not finished
}

// deliver takes the result of one part from a finished batch, whose first item is item
// first of the batch. Items that go on are given the answers of this step for now: they
// keep these if there is no time for the next one. It returns false if the part failed
// as a whole.
func (c *call) deliver(p sched.Part, b *running, r partResult, first int) bool {
	if c.answered {
		return true // nobody waits for it
	}
	if c.batch != b.dispatch.Batch {
		c.batch = b.dispatch.Batch // counted once: a batch may have several parts of the job
		c.compute += b.took
	}
	err := r.err
	if err == nil {
		err = c.place(p, r.outputs, b.goOn(first, p.Count))
	}
	if err != nil {
		c.err = err
		return false
	}
	if c.variants == nil {
		c.variants = make([]int, len(c.Items))
	}
	c.ran |= c.served.Model.Variants[b.core.variant].Modalities
	for i := range p.Count {
		c.variants[p.First+i] = b.core.variant
	}
	c.take(p, b, first)
	for i, err := range r.errs {
		if err != nil {
			c.failed = append(c.failed, ItemError{Item: p.First + i, Err: err})
		}
	}
	return true
}

// place copies the rows of a part to their places in the job's outputs. If the part is
// the whole job and none of its items goes on, nothing is copied. It returns an error if the answers of the job's
// items differ in size, so that they are not one tensor, or if they are too large
// together.
func (c *call) place(p sched.Part, outputs []tensor.Tensor, goOn bool) error {
	if outputs == nil {
		return nil // none of its items ran
	}
	if p.Count == len(c.Items) && !goOn {
		c.outputs, c.texts = outputs, nil
		return nil
	}
	if c.outputs == nil {
		if err := c.bear(outputs); err != nil {
			return err
		}
		for _, out := range outputs {
			shape := slices.Clone(out.Shape)
			shape[0] = int64(len(c.Items))
			joined := tensor.Tensor{Name: out.Name, DType: out.DType, Shape: shape}
			texts := gathered{}
			if out.DType == tensor.Bytes {
				texts.rows = make([][]byte, len(c.Items))
			} else {
				joined.Data = make([]byte, len(out.Row(0))*len(c.Items))
			}
			c.outputs, c.texts = append(c.outputs, joined), append(c.texts, texts)
		}
	}
	for i, out := range outputs {
		if !out.Shape[1:].Equal(c.outputs[i].Shape[1:]) {
			return differ(out.Name, c.outputs[i].Shape, out.Shape)
		}
		if out.DType == tensor.Bytes {
			if err := c.texts[i].put(p.First, out); err != nil {
				return err
			}
			continue
		}
		copy(c.outputs[i].Data[p.First*len(out.Row(0)):], out.Data)
	}
	return nil
}

// answerBytesMax bounds the memory for the answers of one job, in outputs whose size
// depends on the data and that have no declared max. The runtime bounds the outputs of
// one run, but a job may have thousands of runs.
const answerBytesMax = 1 << 30

// bear adds the size of one part's answers, and returns an error if the job's answers
// are too large together.
func (c *call) bear(outputs []tensor.Tensor) error {
	sum := 0
	for i, out := range outputs {
		if spec := c.served.Model.Outputs[i]; spec.Max == 0 && slices.Contains(spec.Shape, -1) {
			sum += len(out.Row(0)) * len(c.Items)
		}
	}
	if sum > answerBytesMax {
		return slo.E("", slo.KindTooLarge, "the answers of %d items would have %d bytes; %d are allowed in one request unless the package declares the output's max: send fewer items",
			len(c.Items), sum, answerBytesMax)
	}
	return nil
}

// result returns the caller's result once done is closed.
func (c *call) result() (Response, error) {
	f := c.finish
	if f.Outcome == slo.Late && c.ended <= c.Objective.Deadline {
		f.Outcome = slo.OnTime // ended within the time that was reserved for sending the answer
	}
	if !f.Outcome.Ran() || (f.Outcome == slo.Late && c.Objective.Late == slo.LateDrop) {
		return Response{Job: c.ids.Of(c.job), Compute: c.compute, Started: c.started, Ended: c.ended, Held: c.answered}, c.failure()
	}
	for i, texts := range c.texts {
		if texts.rows != nil {
			c.outputs[i].Data = texts.data(c.outputs[i].Shape)
		}
	}
	slices.SortFunc(c.failed, func(a, b ItemError) int { return a.Item - b.Item })
	r := Response{Job: c.ids.Of(c.job), Outputs: c.outputs, Variants: c.variants, Failed: c.failed, ExpectedAccuracy: f.Expected, Outcome: f.Outcome,
		Queue: c.started.Sub(c.arrived), Compute: c.compute, Started: c.started, Ended: c.ended}
	r.Modalities, r.Routes = c.ran, c.routes()
	r.AccuracyLow = f.Certified
	if c.Objective.Confidence == 0 {
		r.AccuracyLow = c.low()
	}
	return r, nil
}

// bytes returns the size of the items' tensors.
func (c *call) bytes() int64 {
	sum := 0
	for _, item := range c.Items {
		for _, input := range item {
			sum += len(input)
		}
	}
	return int64(sum)
}

// clientID returns the core's id of a client. Two names get the same id, and then share
// their part of the queue, with probability 2^-64.
func (e *Engine) clientID(name string) sched.ClientID {
	if name == "" {
		return 0
	}
	return sched.ClientID(maphash.String(e.seed, name))
}
