package engine

import (
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// TestAnswersThatAreTooLargeTogether checks the bound over all runs of a job. The
// runtime bounds the outputs of one run, and a job with many items has many runs.
func TestAnswersThatAreTooLargeTogether(t *testing.T) {
	const items, bytes = 100_000, 16 << 10
	for _, tt := range []struct {
		length, declared int64
		refused          bool
	}{{-1, 0, true}, {-1, bytes, false}, {bytes, 0, false}} {
		m := &modelpkg.Model{Outputs: []modelpkg.Spec{{Name: "y", DType: tensor.Uint8, Shape: tensor.Shape{tt.length}, Max: tt.declared}}}
		c := &call{Request: Request{Items: make([]runtime.Item, items)}, served: &deployment{Served: Served{Model: m}}}
		out := tensor.Tensor{Name: "y", DType: tensor.Uint8, Shape: tensor.Shape{1, bytes}, Data: make([]byte, bytes)}
		err := c.place(sched.Part{First: 0, Count: 1}, []tensor.Tensor{out}, false)
		if (err != nil) != tt.refused || err != nil && slo.KindOf(err) != slo.KindTooLarge {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
