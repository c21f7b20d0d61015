package oip

import (
	"github.com/mosel-serve/mosel/tensor"
)

// Response is the answer to an inference request.
type Response struct {
	ModelName    string
	ModelVersion string
	ID           string
	Parameters   Parameters
	Outputs      []tensor.Tensor
}

// Fields of a response, see reader.fields.
const (
	seenModelName = 1 << iota
	seenModelVersion
	seenResponseID
	seenResponseParameters
	seenResponseOutputs
)

// Decode reads a response as Request.Decode reads a request. Outputs in binary
// form are views of body.
func (p *Response) Decode(body []byte, jsonBytes int, lim Limits) error {
	text, part, err := split(body, jsonBytes)
	if err != nil {
		return err
	}
	*p = Response{}
	var params parameterList
	var outputs tensors
	r := reader{buf: text, lim: lim, nulls: true}
	_, err = r.fields("a response", responseField, func(field int) (err error) {
		switch field {
		case seenModelName:
			p.ModelName, err = r.name("model_name", "")
		case seenModelVersion:
			p.ModelVersion, err = r.name("model_version", "")
		case seenResponseID:
			p.ID, err = r.name("id", "")
		case seenResponseParameters:
			err = params.read(&r, nil)
		default:
			err = outputs.read(&r, "outputs")
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	p.Parameters, p.Outputs = params.list[:params.n], outputs.list
	return outputs.attach(part)
}

func responseField(key []byte) int {
	switch string(key) {
	case "model_name":
		return seenModelName
	case "model_version":
		return seenModelVersion
	case "id":
		return seenResponseID
	case "parameters":
		return seenResponseParameters
	case "outputs":
		return seenResponseOutputs
	}
	return 0
}

// Append appends the response to dst, output i in form forms[i], and returns the extended
// slice and the length of the JSON part, AllJSON if no output is in binary form. It fails
// with ErrNotJSON if an output has no JSON form. NaN and infinities, which JSON does not
// have, are written as null, which Decode reads as NaN.
func (p *Response) Append(dst []byte, forms []Form) (body []byte, jsonBytes int, err error) {
	w := writer{out: dst, nulls: true}
	w.byte('{')
	w.key("model_name")
	w.text(p.ModelName)
	if p.ModelVersion != "" {
		w.key("model_version")
		w.text(p.ModelVersion)
	}
	if p.ID != "" {
		w.key("id")
		w.text(p.ID)
	}
	if len(p.Parameters) > 0 {
		w.key("parameters")
		w.byte('{')
		w.parameters(p.Parameters)
		w.byte('}')
	}
	w.key("outputs")
	w.tensors(p.Outputs, func(i int) Form { return forms[i] })
	w.byte('}')
	if w.err != nil {
		return dst, 0, w.err
	}
	jsonBytes = AllJSON
	end := len(w.out)
	for i := range p.Outputs {
		if forms[i] == Binary {
			jsonBytes = end - len(dst)
			w.out = append(w.out, p.Outputs[i].Data...)
		}
	}
	return w.out, jsonBytes, nil
}
