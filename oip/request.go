package oip

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// Request is an inference request. Decode may be called again on the same Request: it
// reuses slices and equal strings, so that a server need not allocate for every request.
type Request struct {
	ID         string
	Parameters Parameters // without binary_data_output: see OutputForm
	Inputs     []tensor.Tensor
	Outputs    []Output // to return, in this order; empty: all
	OutputForm Form     // of the outputs if Outputs is empty

	sizes []int // scratch of Decode
}

// Output is an output that a request names.
type Output struct {
	Name string
	Form Form
}

// Fields of a request, see reader.fields.
const (
	seenID = 1 << iota
	seenRequestParameters
	seenInputs
	seenOutputs
)

// Decode reads a request. jsonBytes is the length of its JSON part, from the
// header HeaderLength, or AllJSON where there is none. Inputs in binary form are
// views of body: it must not change while they are in use. After an error the
// request's content is undefined, but it may be decoded into again.
//
// Errors wrap ErrTooLarge or ErrUnsupported if that is the reason; all others are about
// a malformed request.
func (q *Request) Decode(body []byte, jsonBytes int, lim Limits) error {
	text, part, err := split(body, jsonBytes)
	if err != nil {
		return err
	}
	q.ID, q.Inputs, q.Outputs, q.OutputForm = "", q.Inputs[:0], q.Outputs[:0], JSON
	params := parameterList{list: q.Parameters[:cap(q.Parameters)]}
	inputs := tensors{list: q.Inputs, sizes: q.sizes}
	r := reader{buf: text, lim: lim}
	_, err = r.fields("a request", requestField, func(field int) (err error) {
		switch field {
		case seenID:
			q.ID, err = r.name("id", q.ID)
			return err
		case seenRequestParameters:
			return params.read(&r, q)
		case seenInputs:
			return inputs.read(&r, "inputs")
		}
		return q.readOutputs(&r)
	})
	q.Parameters, q.Inputs, q.sizes = params.list[:params.n], inputs.list, inputs.sizes
	if err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	if len(q.Inputs) == 0 {
		return fmt.Errorf("the request has no inputs")
	}
	q.settleForms()
	return inputs.attach(part)
}

// split cuts a body into its JSON and its binary part.
func split(body []byte, jsonBytes int) (text, part []byte, err error) {
	switch {
	case jsonBytes == AllJSON:
		return body, nil, nil
	case jsonBytes < 0:
		return nil, nil, fmt.Errorf("%s %d is negative", HeaderLength, jsonBytes)
	case jsonBytes > len(body):
		return nil, nil, fmt.Errorf("%s %d is more than the %d bytes of the body", HeaderLength, jsonBytes, len(body))
	}
	return body[:jsonBytes:jsonBytes], body[jsonBytes:], nil
}

func requestField(key []byte) int {
	switch string(key) {
	case "id":
		return seenID
	case "parameters":
		return seenRequestParameters
	case "inputs":
		return seenInputs
	case "outputs":
		return seenOutputs
	}
	return 0
}

// parameterList reads the parameters of a message into a used list.
type parameterList struct {
	list Parameters
	n    int // read so far
}

// read reads the object of parameters. A request q takes binary_data_output for
// itself; q is nil for a response.
func (p *parameterList) read(r *reader, q *Request) error {
	return r.object("parameters", func(key []byte) error {
		if q != nil && string(key) == "binary_data_output" {
			binary, err := r.boolean("binary_data_output")
			if binary {
				q.OutputForm = Binary
			}
			return err
		}
		if q == nil && r.word("null") {
			return nil // in an answer null means that the server does not say
		}
		return p.add(r, key)
	})
}

// add reads the value of one parameter.
func (p *parameterList) add(r *reader, key []byte) error {
	switch {
	case p.n >= r.lim.Parameters:
		return r.fail("more than %d parameters: %w", r.lim.Parameters, ErrTooLarge)
	case len(key) > r.lim.NameBytes:
		return r.fail("the name of a parameter has %d bytes, the bound is %d: %w", len(key), r.lim.NameBytes, ErrTooLarge)
	}
	for _, other := range p.list[:p.n] {
		if other.Name == string(key) {
			return r.fail("parameter %q is given twice", key)
		}
	}
	if p.n == len(p.list) {
		p.list = append(p.list, Parameter{})
	}
	at := &p.list[p.n]
	if at.Name != string(key) {
		at.Name = string(key)
	}
	value, err := r.value("a parameter", at.Value)
	if err != nil {
		return fmt.Errorf("parameter %q: %w", at.Name, err)
	}
	at.Value = value
	p.n++
	return nil
}

// formUnset marks an output that does not say its form: it has the request's,
// which may be read later than the output.
const formUnset Form = 255

func (q *Request) readOutputs(r *reader) error {
	return r.array("outputs", func(i int) error {
		if i >= r.lim.Tensors {
			return r.fail("more than %d outputs: %w", r.lim.Tensors, ErrTooLarge)
		}
		if n := len(q.Outputs); n < cap(q.Outputs) {
			q.Outputs = q.Outputs[:n+1]
		} else {
			q.Outputs = append(q.Outputs, Output{})
		}
		return readOutput(r, &q.Outputs[i])
	})
}

// Fields of an output in a request.
const (
	seenOutputName = 1 << iota
	seenOutputParameters
)

func readOutput(r *reader, out *Output) error {
	out.Form = formUnset
	seen, err := r.fields("an output", outputField, func(field int) (err error) {
		if field == seenOutputParameters {
			return outputParameters(r, out)
		}
		out.Name, err = r.name("name", out.Name)
		return err
	})
	if err == nil && seen&seenOutputName == 0 {
		err = r.fail("an output has no name")
	}
	return err
}

func outputField(key []byte) int {
	switch string(key) {
	case "name":
		return seenOutputName
	case "parameters":
		return seenOutputParameters
	}
	return 0
}

func outputParameters(r *reader, out *Output) error {
	count := 0
	return r.object("parameters", func(key []byte) error {
		if count++; count > r.lim.Parameters {
			return r.fail("more than %d parameters: %w", r.lim.Parameters, ErrTooLarge)
		}
		switch string(key) {
		case "binary_data":
			binary, err := r.boolean("binary_data")
			if out.Form = JSON; binary {
				out.Form = Binary
			}
			return err
		case "classification":
			return r.fail("classification is %w: take the tensor and pick the classes from it", ErrUnsupported)
		case "shared_memory_region":
			return r.fail("shared memory is %w: take the output from the answer", ErrUnsupported)
		}
		return r.ignore()
	})
}

// settleForms gives the outputs that do not say their form that of the request.
func (q *Request) settleForms() {
	for i := range q.Outputs {
		if q.Outputs[i].Form == formUnset {
			q.Outputs[i].Form = q.OutputForm
		}
	}
}

// DecodeRaw reads a raw request (HeaderLength: 0): the body is the data of the
// model's only input, spec.Name, and nothing else. spec.Shape may have one
// dynamic dimension (-1), which the size of the body settles. The outputs are
// all wanted, in binary form. The body of a BYTES input is its one element.
func (q *Request) DecodeRaw(body []byte, spec tensor.Tensor) error {
	shape := append(tensor.Shape(nil), spec.Shape...)
	if spec.DType == tensor.Bytes {
		return q.decodeText(body, spec, shape)
	}
	size := spec.DType.Size()
	if size == 0 {
		return fmt.Errorf("input %q: a raw request cannot carry %v: send a JSON part", spec.Name, spec.DType)
	}
	dynamic, known := -1, int64(size)
	for i, d := range shape {
		switch {
		case d == -1 && dynamic >= 0:
			return fmt.Errorf("input %q: shape %v has more than one dynamic dimension: send a JSON part", spec.Name, spec.Shape)
		case d == -1:
			dynamic = i
		case d <= 0 || known > int64(len(body))/d:
			return rawSize(spec, body)
		default:
			known *= d
		}
	}
	if dynamic >= 0 {
		if len(body) == 0 || int64(len(body))%known != 0 {
			return rawSize(spec, body)
		}
		shape[dynamic] = int64(len(body)) / known
	} else if known != int64(len(body)) {
		return rawSize(spec, body)
	}
	input := tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: shape, Data: body}
	*q = Request{Inputs: append(q.Inputs[:0], input), Outputs: q.Outputs[:0], OutputForm: Binary, sizes: q.sizes}
	return CheckTensor(input)
}

// decodeText reads a raw request of BYTES: the body is the only element, without its
// length, as Triton has it.
func (q *Request) decodeText(body []byte, spec tensor.Tensor, shape tensor.Shape) error {
	for i, d := range shape {
		if d != -1 && d != 1 {
			return fmt.Errorf("input %q: a raw request carries one element of BYTES, not shape %v: send a JSON part", spec.Name, spec.Shape)
		}
		shape[i] = 1
	}
	if uint64(len(body)) > math.MaxUint32 {
		return fmt.Errorf("input %q: a body of %d bytes is more than one element can have: %w", spec.Name, len(body), ErrTooLarge)
	}
	data := append(binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...)
	*q = Request{Inputs: append(q.Inputs[:0], tensor.Tensor{Name: spec.Name, DType: spec.DType, Shape: shape, Data: data}),
		Outputs: q.Outputs[:0], OutputForm: Binary, sizes: q.sizes}
	return nil
}

func rawSize(spec tensor.Tensor, body []byte) error {
	return fmt.Errorf("input %q: a raw request of %d bytes does not fit shape %v of %v", spec.Name, len(body), spec.Shape, spec.DType)
}

// Append writes the request behind dst, its inputs in the given form, and
// returns the extended slice and the length of the JSON part, AllJSON where
// there is no binary part. Nothing of dst may belong to the inputs' data.
// It fails with ErrNotJSON where an input has no JSON form.
func (q *Request) Append(dst []byte, form Form) (body []byte, jsonBytes int, err error) {
	w := writer{out: dst}
	w.byte('{')
	if q.ID != "" {
		w.key("id")
		w.text(q.ID)
	}
	if len(q.Parameters) > 0 || q.OutputForm == Binary {
		w.key("parameters")
		w.byte('{')
		if q.OutputForm == Binary {
			w.key("binary_data_output")
			w.raw("true")
		}
		w.parameters(q.Parameters)
		w.byte('}')
	}
	w.key("inputs")
	w.tensors(q.Inputs, func(int) Form { return form })
	if len(q.Outputs) > 0 {
		w.key("outputs")
		w.byte('[')
		for i, out := range q.Outputs {
			w.comma(i)
			w.output(out, q.OutputForm)
		}
		w.byte(']')
	}
	w.byte('}')
	if w.err != nil {
		return dst, 0, w.err
	}
	if form == JSON {
		return w.out, AllJSON, nil
	}
	jsonBytes = len(w.out) - len(dst)
	for i := range q.Inputs {
		w.out = append(w.out, q.Inputs[i].Data...)
	}
	return w.out, jsonBytes, nil
}
