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

// call is a request under way. The loop owns it until done is closed, the
// caller after.
type call struct {
	Request
	served  *deployment
	ids     *obs.JobIDs
	job     sched.JobID
	arrived slo.Instant
	started slo.Instant // of the first batch; 0: not yet
	ended   slo.Instant
	compute time.Duration
	batch   sched.BatchID // the last that was counted in compute
	done    chan struct{}
	finish  sched.FinishJob

	outputs  []tensor.Tensor
	texts    []gathered // by output, with outputs; nil: one part brought all
	variants []int
	failed   []ItemError // in the order in which they came
	err      error       // of the last batch that failed
	// answered says that the caller was told the end while a batch still ran. All
	// that result reads is the caller's then.
	answered bool

	// For who follows the core, until the job has ended; the loop's all the while.
	event     sched.Event // its Arrive
	submitted slo.Instant
	left      int // items not finished
}

// deliver takes the result of one part out of a finished batch; false when it
// failed as a whole.
func (c *call) deliver(p sched.Part, b *running, r partResult) bool {
	if c.answered {
		return true // to nobody
	}
	if c.batch != b.dispatch.Batch {
		c.batch = b.dispatch.Batch // it may have several parts in one
		c.compute += b.took
	}
	err := r.err
	if err == nil {
		err = c.place(p, r.outputs)
	}
	if err != nil {
		c.err = err
		return false
	}
	if c.variants == nil {
		c.variants = make([]int, len(c.Items))
	}
	for i := range p.Count {
		c.variants[p.First+i] = b.dispatch.Variant
	}
	for i, err := range r.errs {
		if err != nil {
			c.failed = append(c.failed, ItemError{Item: p.First + i, Err: err})
		}
	}
	return true
}

// place puts the rows of a part to their places among the job's. A part that is the
// whole job is not copied. The error is that of a job whose items' answers differ in
// size, so that they are not one tensor, or are too large together.
func (c *call) place(p sched.Part, outputs []tensor.Tensor) error {
	if outputs == nil {
		return nil // none of its items ran
	}
	if p.Count == len(c.Items) {
		c.outputs = outputs
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

// answerBytesMax bounds what is kept for the answers of one job, in outputs whose size
// depends on the data and for which the package declares no max. The runtime bounds
// those of one run; a job may have thousands.
const answerBytesMax = 1 << 30

// bear refuses a job whose answers are too large together, by those of one part.
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

// result is what the caller gets once done is closed.
func (c *call) result() (Response, error) {
	f := c.finish
	if f.Outcome == slo.Late && c.ended <= c.Objective.Deadline {
		f.Outcome = slo.OnTime // in the time that was kept for the answer's way
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
	for _, v := range c.variants {
		r.Modalities |= c.served.Model.Variants[v].Modalities
	}
	return r, nil
}

// bytes is the size of the items' tensors.
func (c *call) bytes() int64 {
	sum := 0
	for _, item := range c.Items {
		for _, input := range item {
			sum += len(input)
		}
	}
	return int64(sum)
}

// clientID is the core's name for a client. Two that share one by chance, once in
// 2^64 pairs, share their part of the queue.
func (e *Engine) clientID(name string) sched.ClientID {
	if name == "" {
		return 0
	}
	return sched.ClientID(maphash.String(e.seed, name))
}
