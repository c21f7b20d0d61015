package isolated

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// cancelGrace is how long a worker may take to answer after it was told to end a run:
// then it is killed. The engine gives a run up after two seconds.
const cancelGrace = time.Second

var _ runtime.Staged = (*instance)(nil)

// instance runs batches in a worker, one at a time.
type instance struct {
	model  *modelpkg.Model
	worker *worker
	number uint32 // of the last run
	keeps  []byte // by variant: 1: parts of it can run
	lost   *slo.Error
	closed bool

	writing sync.Mutex // of messages
}

// load has the worker load the model. Errors are the worker's, or ErrLost.
func (in *instance) load(ctx context.Context, q *loadMessage) error {
	stop := context.AfterFunc(ctx, in.worker.kill)
	err := sendJSON(in.worker.conn, kindLoad, q)
	if err == nil {
		_, _, err = in.answer(nil)
	} else {
		err = fmt.Errorf("%w: %w", runtime.ErrLost, err)
	}
	if !stop() { // it is killed, whatever it has answered
		return ctx.Err()
	}
	return err
}

// answer reads the worker's answer to a run; nil: to a load.
func (in *instance) answer(part *runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	k, head, err := receive(in.worker.reader)
	if err == nil {
		switch k {
		case kindLoad, kindRun, kindCancel: // only the server sends these
		case kindLoaded:
			if part == nil && len(head) == len(in.model.Variants) {
				in.keeps = head
				return nil, nil, nil
			}
		case kindFailed:
			told, err := decode[failedMessage](head)
			if err == nil {
				return nil, nil, told.err()
			}
		case kindOutputs:
			if part == nil {
				break
			}
			outputs, kept, err := readOutputs(in.worker.reader, in.model, part, head)
			if err == nil && (outputs == nil) == part.Inner {
				return outputs, kept, nil
			}
		}
		err = errMessage
	}
	in.worker.kill()
	return nil, nil, fmt.Errorf("%w: %w", runtime.ErrCrashed, err)
}

// Slots is 1: a worker runs one batch at a time.
func (*instance) Slots() int { return 1 }

// Run sends a batch to the worker and waits for what it makes of it.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	if err := in.usable(); err != nil {
		return nil, err
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	outputs, _, err := in.run(ctx, &runtime.Part{Variant: variant, Items: items}, in.model.Variants[variant].Inputs)
	return outputs, err
}

// Keeps reports whether the worker runs parts of the variant.
func (in *instance) Keeps(variant int) bool { return in.keeps[variant] != 0 }

// RunStages sends a part to the worker, with what it is given, and waits for what it makes
// of it.
func (in *instance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if err := in.usable(); err != nil {
		return nil, nil, err
	}
	if _, err := part.Check(in.model); err != nil {
		return nil, nil, err
	}
	if !in.Keeps(part.Variant) {
		return nil, nil, slo.E("run "+in.model.Name, slo.KindInvalid, "parts of variant %s do not run here", in.model.Variants[part.Variant].Name)
	}
	var given []modelpkg.Intermediate
	for _, g := range part.Given {
		given = append(given, g.Intermediate)
	}
	_, inputs, err := in.model.Needed(part.Variant, given, part.Keep, part.Inner)
	if err != nil {
		return nil, nil, err
	}
	return in.run(ctx, &part, inputs)
}

func (in *instance) usable() error {
	switch {
	case in.closed:
		return slo.E("run "+in.model.Name, slo.KindUnavailable, "the instance is closed")
	case in.lost != nil:
		return in.lost
	}
	return nil
}

// run sends a part that was checked, with these inputs of its items.
func (in *instance) run(ctx context.Context, part *runtime.Part, inputs []int) (outputs, kept []tensor.Tensor, err error) {
	op := "run " + in.model.Name + "/" + in.model.Variants[part.Variant].Name
	if ctx.Err() != nil {
		return nil, nil, ended(op, ctx.Err())
	}
	in.number++
	head, parts := runHead(in.model, in.number, part, inputs)
	if err := in.send(kindRun, head, parts...); err != nil {
		return nil, nil, in.lose(op, runtime.ErrLost) // it ended before: the batch is not to blame
	}
	outputs, kept, err = in.wait(ctx, part)
	switch {
	case err == nil:
		return outputs, kept, nil
	case in.worker.killed.Load():
		return nil, nil, in.lose(op, runtime.ErrCrashed)
	case ctx.Err() != nil:
		return nil, nil, ended(op, ctx.Err())
	}
	return nil, nil, err
}

func (in *instance) send(k kind, head []byte, parts ...[]byte) error {
	in.writing.Lock()
	defer in.writing.Unlock()
	return send(in.worker.conn, k, head, parts...)
}

// wait waits for the answer to a run. When ctx ends, the worker is told to end the
// run, and killed if it does not.
func (in *instance) wait(ctx context.Context, part *runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_ = in.worker.conn.SetReadDeadline(time.Now().Add(cancelGrace)) // fails only on a closed connection
		_ = in.send(kindCancel, binary.LittleEndian.AppendUint32(nil, in.number))
	})
	outputs, kept, err = in.answer(part)
	if !stop() {
		<-told
		_ = in.worker.conn.SetReadDeadline(time.Time{})
	}
	return outputs, kept, err
}

// lose notes that the worker is gone, and why.
func (in *instance) lose(op string, how error) error {
	in.worker.kill()
	in.lost = slo.E(op, slo.KindUnavailable, "%w: the process that ran it ended: %s", runtime.ErrLost, in.worker.end())
	return slo.E(op, slo.KindUnavailable, "%w: the process that ran it ended: %s", how, in.worker.end())
}

// Close ends the worker.
func (in *instance) Close() error {
	if !in.closed {
		in.closed = true
		in.worker.kill()
		in.worker.end()
	}
	return nil
}
