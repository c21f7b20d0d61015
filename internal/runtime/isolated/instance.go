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

// instance runs batches in a worker, one at a time.
type instance struct {
	model  *modelpkg.Model
	worker *worker
	number uint32 // of the last run
	lost   *slo.Error
	closed bool

	writing sync.Mutex // of messages
}

// load has the worker load the model. Errors are the worker's, or ErrLost.
func (in *instance) load(ctx context.Context, q *loadMessage) error {
	stop := context.AfterFunc(ctx, in.worker.kill)
	err := sendJSON(in.worker.conn, kindLoad, q)
	if err == nil {
		_, err = in.answer()
	} else {
		err = fmt.Errorf("%w: %w", runtime.ErrLost, err)
	}
	if !stop() { // it is killed, whatever it has answered
		return ctx.Err()
	}
	return err
}

// answer reads the worker's answer to a load or a run.
func (in *instance) answer() ([]tensor.Tensor, error) {
	k, head, err := receive(in.worker.reader)
	if err == nil {
		switch k {
		case kindLoad, kindRun, kindCancel: // only the server sends these
		case kindLoaded:
			return nil, nil
		case kindFailed:
			told, err := decode[failedMessage](head)
			if err == nil {
				return nil, told.err()
			}
		case kindOutputs:
			outputs, err := readOutputs(in.worker.reader, in.model, head)
			if err == nil {
				return outputs, nil
			}
		}
		err = errMessage
	}
	in.worker.kill()
	return nil, fmt.Errorf("%w: %w", runtime.ErrCrashed, err)
}

// Slots is 1: a worker runs one batch at a time.
func (*instance) Slots() int { return 1 }

// Run sends a batch to the worker and waits for what it makes of it.
func (in *instance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	op := "run " + in.model.Name
	switch {
	case in.closed:
		return nil, slo.E(op, slo.KindUnavailable, "the instance is closed")
	case in.lost != nil:
		return nil, in.lost
	}
	if err := runtime.CheckBatch(in.model, variant, items); err != nil {
		return nil, err
	}
	op += "/" + in.model.Variants[variant].Name
	if ctx.Err() != nil {
		return nil, ended(op, ctx.Err())
	}
	in.number++
	head, parts := runHead(in.model, in.number, variant, items)
	if err := in.send(kindRun, head, parts...); err != nil {
		return nil, in.lose(op, runtime.ErrLost) // it ended before: the batch is not to blame
	}
	outputs, err := in.wait(ctx)
	switch {
	case err == nil:
		return outputs, nil
	case in.worker.killed.Load():
		return nil, in.lose(op, runtime.ErrCrashed)
	case ctx.Err() != nil:
		return nil, ended(op, ctx.Err())
	}
	return nil, err
}

func (in *instance) send(k kind, head []byte, parts ...[]byte) error {
	in.writing.Lock()
	defer in.writing.Unlock()
	return send(in.worker.conn, k, head, parts...)
}

// wait waits for the answer to a run. When ctx ends, the worker is told to end the
// run, and killed if it does not.
func (in *instance) wait(ctx context.Context) ([]tensor.Tensor, error) {
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		_ = in.worker.conn.SetReadDeadline(time.Now().Add(cancelGrace)) // fails only on a closed connection
		_ = in.send(kindCancel, binary.LittleEndian.AppendUint32(nil, in.number))
	})
	outputs, err := in.answer()
	if !stop() {
		<-told
		_ = in.worker.conn.SetReadDeadline(time.Time{})
	}
	return outputs, err
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
