package runtime

import (
	"context"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// Staged is an instance that can run a part of a variant's stages, so that what a stage
// computed for an item can be used in a later run. An instance that is not Staged can
// only run variants as a whole.
type Staged interface {
	Instance
	// Keeps reports whether RunStages runs parts of a variant.
	Keeps(variant int) bool
	// RunStages is Run for a part of a variant. The outputs are nil if the part is
	// inner. kept are the tensors of part.Keep, in order, with a first dimension of
	// len(part.Items), and nil if they are larger than part.KeepBytesMax. All bytes are
	// the caller's to keep; those in part are only read.
	RunStages(ctx context.Context, part Part) (outputs, kept []tensor.Tensor, err error)
}

// Part is a batch that runs the stages of a variant that are needed: those that compute
// the model's outputs and Keep and are not replaced by Given.
type Part struct {
	Variant      int
	Items        []Item // only the inputs that the stages read must be there
	Given        []Given
	Keep         []modelpkg.Intermediate // to return beside the outputs
	KeepBytesMax int                     // largest sum of the kept tensors' sizes
	Inner        bool                    // the model's outputs are not wanted
}

// Given is what earlier runs computed for the items of a batch: one row for each item,
// with a first dimension of 1. All rows have the same shape.
type Given struct {
	modelpkg.Intermediate
	Rows []tensor.Tensor
}

// Keeps reports whether an instance can run parts of a variant.
func Keeps(in Instance, variant int) bool {
	staged, ok := in.(Staged)
	return ok && staged.Keeps(variant)
}

// Whole reports whether the part is a whole variant, as Run runs it.
func (p *Part) Whole() bool { return len(p.Given) == 0 && len(p.Keep) == 0 && !p.Inner }

// Check checks the part as CheckBatch checks a batch, and returns which of the variant's
// steps must run.
func (p *Part) Check(m *modelpkg.Model) (steps []bool, err error) {
	if err := checkSize(m, p.Variant, len(p.Items)); err != nil {
		return nil, err
	}
	op := "run " + m.Name
	given := make([]modelpkg.Intermediate, len(p.Given))
	for i, g := range p.Given {
		given[i] = g.Intermediate
		if len(g.Rows) != len(p.Items) {
			return nil, slo.E(op, slo.KindInvalid, "%q has %d rows for %d items", g.Name, len(g.Rows), len(p.Items))
		}
		for _, row := range g.Rows {
			if _, err := tensor.New(g.Name, row.DType, row.Shape, row.Data); err != nil {
				return nil, slo.E(op, slo.KindInvalid, "%w", err)
			}
			if row.Rows() != 1 || !AlikeRows(row, g.Rows[0]) {
				return nil, slo.E(op, slo.KindInvalid, "the rows of %q differ: %v %v and %v %v", g.Name, row.DType, row.Shape, g.Rows[0].DType, g.Rows[0].Shape)
			}
		}
	}
	steps, inputs, err := m.Needed(p.Variant, given, p.Keep, p.Inner)
	if err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	return steps, checkInputs(m, p.Variant, inputs, p.Items)
}

// RowsOf returns the rows of a tensor as tensors, as Given has them.
func RowsOf(t tensor.Tensor) (rows []tensor.Tensor) {
	shape := append(tensor.Shape{1}, t.Shape[1:]...)
	for _, data := range t.Split() {
		rows = append(rows, tensor.Tensor{Name: t.Name, DType: t.DType, Shape: shape, Data: data})
	}
	return rows
}

// AlikeRows reports whether two rows may be in one tensor.
func AlikeRows(a, b tensor.Tensor) bool { return a.DType == b.DType && a.Shape.Equal(b.Shape) }
