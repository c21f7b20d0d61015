package inference

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mosel-serve/mosel/oip"
)

// DecodeRequest reads the message m into q, as oip.Request.Decode reads a body, and reuses
// the slices of q. It does not read the model's name and version, which over REST are in
// the path. Inputs sent as raw bytes are views of the message: it must not change while
// they are in use.
//
// All outputs get the binary form, which over gRPC is raw bytes; the parameters
// binary_data_output and binary_data are ignored. Parameters have no order in the
// message; in q they are sorted by name.
//
// Errors wrap oip.ErrTooLarge or oip.ErrUnsupported if that is the reason; all others
// are about a malformed message. After an error the content of q is undefined, but it
// may be decoded into again.
func DecodeRequest(q *oip.Request, m *ModelInferRequest, lim oip.Limits) error {
	b := bounds(lim)
	q.ID, q.OutputForm = m.GetId(), oip.Binary
	if err := b.name("id", q.ID); err != nil {
		return err
	}
	var err error
	if q.Parameters, err = b.parameters(q.Parameters[:0], m.GetParameters()); err != nil {
		return err
	}
	if len(m.GetInputs()) == 0 {
		return errors.New("the request has no inputs")
	}
	if q.Inputs, err = decodeTensors(b, q.Inputs[:0], m.GetInputs(), m.GetRawInputContents()); err != nil {
		return err
	}
	q.Outputs, err = b.outputs(q.Outputs[:0], m.GetOutputs())
	return err
}

// outputs reads the outputs that a request names.
func (b bounds) outputs(list []oip.Output, messages []*ModelInferRequest_InferRequestedOutputTensor) ([]oip.Output, error) {
	if len(messages) > b.Tensors {
		return list, fmt.Errorf("%d outputs, the bound is %d: %w", len(messages), b.Tensors, oip.ErrTooLarge)
	}
	for _, m := range messages {
		name := m.GetName()
		if err := b.name("the name of an output", name); err != nil {
			return list, err
		}
		params := m.GetParameters()
		if err := b.count(len(params)); err != nil {
			return list, fmt.Errorf("output %q: %w", name, err)
		}
		if params["classification"] != nil {
			return list, fmt.Errorf("output %q: classification is %w: take the tensor and pick the classes from it", name, oip.ErrUnsupported)
		}
		if params["shared_memory_region"] != nil {
			return list, fmt.Errorf("output %q: shared memory is %w: take the output from the answer", name, oip.ErrUnsupported)
		}
		list = append(list, oip.Output{Name: name, Form: oip.Binary})
	}
	return list, nil
}

// EncodeRequest writes q into m, which may be a used message. The caller sets the model's
// name and version. The inputs become raw contents that are views of the bytes in q:
// these must not change until m is sent. The forms in q have no meaning over gRPC.
func EncodeRequest(m *ModelInferRequest, q *oip.Request) (err error) {
	if err := text("id", q.ID); err != nil {
		return err
	}
	m.Id = q.ID
	if m.Parameters, err = encodeParameters(m.Parameters, q.Parameters); err != nil {
		return err
	}
	m.Inputs, m.RawInputContents = messages(m.Inputs, len(q.Inputs)), m.RawInputContents[:0]
	for i, t := range q.Inputs {
		if err := sound(t); err != nil {
			return err
		}
		in := m.Inputs[i]
		in.Name, in.Datatype, in.Shape, in.Parameters, in.Contents = t.Name, t.DType.String(), t.Shape, nil, nil
		m.RawInputContents = append(m.RawInputContents, t.Data)
	}
	m.Outputs = messages(m.Outputs, len(q.Outputs))
	for i, out := range q.Outputs {
		if err := text("the name of an output", out.Name); err != nil {
			return err
		}
		m.Outputs[i].Name, m.Outputs[i].Parameters = out.Name, nil
	}
	return nil
}

// messages makes a list of n elements, reusing the memory and the elements of an earlier
// use. Missing elements are allocated together.
func messages[M any](list []*M, n int) []*M {
	list = slices.Grow(list[:0], n)[:n]
	var room []M
	for i := range list {
		if list[i] != nil {
			continue
		}
		if len(room) == 0 {
			room = make([]M, n-i)
		}
		list[i], room = &room[0], room[1:]
	}
	return list
}
