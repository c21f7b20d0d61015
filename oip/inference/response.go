package inference

import (
	"slices"

	"github.com/mosel-serve/mosel/oip"
)

// DecodeResponse reads the message m into p, as DecodeRequest reads a request.
// Outputs sent as raw bytes are views of the message.
func DecodeResponse(p *oip.Response, m *ModelInferResponse, lim oip.Limits) error {
	b := bounds(lim)
	p.ModelName, p.ModelVersion, p.ID = m.GetModelName(), m.GetModelVersion(), m.GetId()
	for _, field := range [...]struct{ what, text string }{{"model_name", p.ModelName}, {"model_version", p.ModelVersion}, {"id", p.ID}} {
		if err := b.name(field.what, field.text); err != nil {
			return err
		}
	}
	var err error
	if p.Parameters, err = b.parameters(p.Parameters[:0], m.GetParameters()); err != nil {
		return err
	}
	p.Parameters = slices.DeleteFunc(p.Parameters, func(p oip.Parameter) bool { return p.Value.IsNull() }) // null means that the server does not say
	p.Outputs, err = decodeTensors(b, p.Outputs[:0], m.GetOutputs(), m.GetRawOutputContents())
	return err
}

// EncodeResponse writes p into m, which may be a used message. The outputs become raw
// contents that are views of the bytes in p: these must not change until m is sent.
func EncodeResponse(m *ModelInferResponse, p *oip.Response) (err error) {
	for _, field := range [...]struct{ what, text string }{{"model_name", p.ModelName}, {"model_version", p.ModelVersion}, {"id", p.ID}} {
		if err := text(field.what, field.text); err != nil {
			return err
		}
	}
	m.ModelName, m.ModelVersion, m.Id = p.ModelName, p.ModelVersion, p.ID
	if m.Parameters, err = encodeParameters(m.Parameters, p.Parameters); err != nil {
		return err
	}
	m.Outputs, m.RawOutputContents = messages(m.Outputs, len(p.Outputs)), m.RawOutputContents[:0]
	for i, t := range p.Outputs {
		if err := sound(t); err != nil {
			return err
		}
		out := m.Outputs[i]
		out.Name, out.Datatype, out.Shape, out.Parameters, out.Contents = t.Name, t.DType.String(), t.Shape, nil, nil
		m.RawOutputContents = append(m.RawOutputContents, t.Data)
	}
	return nil
}
