package remote

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// fit compares what a server says of a model with what the package declares, and
// says all that differs. A server that says nothing of tensors is taken at the
// package's word: its answers are held against it anyway.
func (r *route) fit(found oip.ModelMetadata) error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	silent := len(found.Inputs) == 0 && len(found.Outputs) == 0
	for i := range r.inputs {
		in := &r.inputs[i]
		at := slices.IndexFunc(found.Inputs, func(t oip.TensorMetadata) bool { return t.Name == in.Name })
		unbatched := in.Input >= 0 && r.model.Inputs[in.Input].Unbatched
		in.batched = !unbatched
		switch {
		case silent:
		case at < 0:
			fault("it has no input %q, only %s", in.Name, names(found.Inputs))
		case in.Input >= 0: // what stages give each other is known when it is there
			there, spec := found.Inputs[at], r.model.Inputs[in.Input].Spec
			in.batched = !unbatched || len(there.Shape) == len(spec.Shape)+1
			r.compare("input", spec, there, in.batched, fault)
		}
	}
	for _, out := range r.outputs {
		at := slices.IndexFunc(found.Outputs, func(t oip.TensorMetadata) bool { return t.Name == out.Name })
		switch {
		case silent:
		case at < 0:
			fault("it has no output %q, only %s", out.Name, names(found.Outputs))
		default:
			r.compare("output", out, found.Outputs[at], true, fault)
		}
	}
	r.others(found, fault)
	if len(faults) > 0 {
		return fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return nil
}

// compare holds one tensor of the server against its declaration, which has no batch
// dimension.
func (r *route) compare(kind string, declared modelpkg.Spec, there oip.TensorMetadata, batched bool, fault func(string, ...any)) {
	if there.Datatype != declared.DType.String() {
		fault("%s %q is %s there and %v in the package", kind, declared.Name, oneLine(there.Datatype), declared.DType)
	}
	rest := tensor.Shape(there.Shape)
	if batched {
		if len(rest) == 0 {
			fault("%s %q has no batch dimension there", kind, declared.Name)
			return
		}
		if batch := rest[0]; batch != -1 && int(batch) < r.model.Limits.BatchItemsMax {
			fault("%s %q takes batches of %d there; limits.max_batch is %d", kind, declared.Name, batch, r.model.Limits.BatchItemsMax)
		}
		rest = rest[1:]
	}
	fits := len(rest) == len(declared.Shape)
	for i := range rest {
		fits = fits && (rest[i] == -1 || rest[i] == declared.Shape[i])
	}
	if !fits {
		fault("%s %q has the shape %v there and %v in the package", kind, declared.Name, rest, declared.Shape)
	}
}

// others looks at the inputs that the variant or stage does not have. Another mosel says to
// which modalities they belong, and runs without those; any other server needs them
// all.
func (r *route) others(found oip.ModelMetadata, fault func(string, ...any)) {
	var own, rest []string
	for _, in := range r.inputs {
		own = append(own, in.Name)
	}
	for _, there := range found.Inputs {
		if !slices.Contains(own, there.Name) {
			rest = append(rest, there.Name)
		}
	}
	modalities := split(found.Properties["modalities"])
	for _, modality := range modalities {
		inputs := split(found.Properties["modality."+modality])
		if slices.ContainsFunc(inputs, func(name string) bool { return slices.Contains(own, name) }) {
			r.modalities = append(r.modalities, modality)
			continue
		}
		rest = slices.DeleteFunc(rest, func(name string) bool { return slices.Contains(inputs, name) })
	}
	if len(rest) > 0 {
		what := "variant"
		if r.stage {
			what = "stage"
		}
		fault("it needs the inputs %s too, which the %s does not have", oneLine(strings.Join(rest, ", ")), what)
	}
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func names(tensors []oip.TensorMetadata) string {
	var list []string
	for _, t := range tensors {
		list = append(list, t.Name)
	}
	if len(list) == 0 {
		return "none"
	}
	return oneLine(strings.Join(list, ", "))
}
