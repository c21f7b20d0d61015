package fake

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

var _ runtime.Staged = (*instance)(nil)

// Keeps reports whether the variant has stages.
func (in *instance) Keeps(variant int) bool {
	return !in.config.Whole && in.loaded[variant] && in.model.Variants[variant].Steps != nil
}

// RunStages takes the profiled time of the stages that run. It fails if a given row is
// not that of its item.
func (in *instance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	if err := in.usable(); err != nil {
		return nil, nil, err
	}
	steps, err := part.Check(in.model)
	if err != nil {
		return nil, nil, err
	}
	return in.run(ctx, &part, steps)
}

// stages returns the profiled batches of the model's StageRuns, nil without a profile of
// them.
func (r *Runtime) stages(m *modelpkg.Model) [][]modelpkg.BatchProfile {
	for _, p := range r.config.Profiles {
		if p.Model == m.Name && len(p.Stages) > 0 && !r.config.Instant {
			var stages [][]modelpkg.BatchProfile
			for _, s := range p.Stages {
				stages = append(stages, s.Batches)
			}
			return stages
		}
	}
	return nil
}

// latency returns the time of a batch that runs some steps of a variant: of the whole
// variant if all run or if the stages were not profiled.
func (in *instance) latency(variant, items int, steps []bool) (sum time.Duration) {
	if in.stages == nil || steps == nil || !slices.Contains(steps, false) {
		return Latency(in.batches[variant], items)
	}
	_, of := in.model.StageRuns()
	for k, stage := range of[variant] {
		if steps[k] {
			sum += Latency(in.stages[stage], items)
		}
	}
	return sum
}

// ran lists the stages of the steps that run, all if steps is nil.
func (in *instance) ran(variant int, steps []bool) (stages []int) {
	for k, step := range in.model.Variants[variant].Steps {
		if steps == nil || steps[k] {
			stages = append(stages, step.Stage)
		}
	}
	return stages
}

// present reports whether an item has an input in the form in which stages read it. An
// input that no stage reads may be missing, or a file.
func (in *instance) present(item runtime.Item, input int) bool {
	spec := in.model.Inputs[input].Spec
	return item[input] != nil && (slices.Contains(spec.Shape, -1) || spec.DType == tensor.Bytes || len(item[input]) == runtime.ItemBytes(spec))
}

// keep makes the intermediate tensors of a part, nil if they are too large.
func (in *instance) keep(part *runtime.Part) (kept []tensor.Tensor) {
	size := in.keptBytes()
	if size*len(part.Keep)*len(part.Items) > part.KeepBytesMax {
		return nil
	}
	for _, value := range part.Keep {
		t := tensor.Tensor{Name: value.Name, DType: tensor.Uint8, Shape: tensor.Shape{int64(len(part.Items)), int64(size)}}
		for at := range part.Items {
			t.Data = append(t.Data, in.keptRow(part, at, value)...)
		}
		kept = append(kept, t)
	}
	return kept
}

func (in *instance) keptBytes() int { return max(4, in.config.KeptBytes) }

// keptRow is an item's row of an intermediate tensor. It depends on the model's inputs
// on which the tensor depends.
func (in *instance) keptRow(part *runtime.Part, at int, value modelpkg.Intermediate) []byte {
	r := reader{in.model, part, at, part.Items[at]}
	row := binary.LittleEndian.AppendUint32(nil, r.value(value))
	return bytes.Repeat(row, (in.keptBytes()+3)/4)[:in.keptBytes()]
}

// reader reads what stages read of one item of a part.
type reader struct {
	model *modelpkg.Model
	part  *runtime.Part
	at    int
	item  runtime.Item
}

// value returns the number that the row of an intermediate tensor shows: that of the row
// which the part was given, else one of what the tensor's step reads.
func (r reader) value(value modelpkg.Intermediate) uint32 {
	i := slices.IndexFunc(r.part.Given, func(g runtime.Given) bool { return g.Intermediate == value })
	if i >= 0 {
		return binary.LittleEndian.Uint32(r.part.Given[i].Rows[r.at].Data)
	}
	sum := crc32.ChecksumIEEE(fmt.Append(nil, value))
	for _, v := range r.model.Variants {
		k := slices.IndexFunc(v.Steps, func(s modelpkg.Step) bool { return s.Unit == value.Unit })
		if k >= 0 {
			return r.step(v.Steps, k, sum)
		}
	}
	return sum
}

// step adds what a step reads: inputs, and tensors that were given or are computed.
func (r reader) step(steps []modelpkg.Step, k int, sum uint32) uint32 {
	for _, s := range steps[k].Inputs {
		if s.Input >= 0 {
			sum = crc32.Update(sum, crc32.IEEETable, r.item[s.Input])
			continue
		}
		value := modelpkg.Intermediate{Unit: steps[s.Step].Unit, Name: s.Name}
		sum = crc32.Update(sum, crc32.IEEETable, binary.LittleEndian.AppendUint32(nil, r.value(value)))
	}
	return sum
}

// inputsOf returns the model's inputs on which an intermediate tensor depends.
func inputsOf(m *modelpkg.Model, value modelpkg.Intermediate) []int {
	for v := range m.Variants {
		if _, inputs, err := m.Needed(v, nil, []modelpkg.Intermediate{value}, true); err == nil {
			return inputs
		}
	}
	return nil
}

// checkGiven compares the given rows with those of the items, as far as their inputs are
// there.
func (in *instance) checkGiven(part *runtime.Part) error {
	for _, g := range part.Given {
		inputs := inputsOf(in.model, g.Intermediate)
		for i, item := range part.Items {
			absent := slices.ContainsFunc(inputs, func(input int) bool { return !in.present(item, input) })
			whole := &runtime.Part{Variant: part.Variant, Items: part.Items}
			if !absent && !bytes.Equal(g.Rows[i].Data, in.keptRow(whole, i, g.Intermediate)) {
				return fmt.Errorf("item %d of %d was given another item's %q", i, len(part.Items), g.Name)
			}
		}
	}
	return nil
}
