package modelpkg

import "errors"

// Signature is how a graph is called.
type Signature struct {
	Inputs, Outputs []Value
}

// Value is an input or output of a graph as its file declares it, the batch dimension
// included. Shape is nil where the graph gives none; -1 stands for a dimension that
// is named or unknown. DType is invalid where the protocol has no name for it.
type Value struct {
	Spec
	Kind string // in ONNX's words, such as "sequence(map(int64,tensor(float)))"
}

// ReadSignature reads how the graph of an ONNX file in a directory is called. Weights
// are skipped. name is a path inside the directory, with "/" between folders. The
// error says what is wrong with the file, without its name.
func ReadSignature(dir, name string) (Signature, error) {
	h, err := openHome("", dir)
	if err != nil {
		return Signature{}, err
	}
	defer h.close()
	f, info, err := h.open(name)
	if err != nil {
		return Signature{}, errors.New(reason(err))
	}
	defer f.Close()
	g, err := readGraph(f, info.Size())
	if err != nil {
		return Signature{}, err
	}
	return Signature{Inputs: values(g.inputs), Outputs: values(g.outputs)}, nil
}

func values(found []graphValue) []Value {
	all := make([]Value, len(found))
	for i, v := range found {
		all[i] = Value{Spec: v.Spec, Kind: v.kind}
	}
	return all
}
