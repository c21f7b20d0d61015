package runtimetest

import (
	"sync"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/tensor"
)

// slots runs a batch in every slot at the same time, and compares the answers with
// those of runs one after the other.
func (f *fixture) slots() {
	f.with(func(in runtime.Instance) {
		slots := in.Slots()
		if slots < 1 {
			f.Fatalf("an instance of %d slots", slots)
		}
		const rounds = 8
		batches := make([][]runtime.Item, slots)
		want := make([][]tensor.Tensor, slots)
		for i := range batches {
			batches[i] = f.items(1 + i%3)
			want[i] = f.run(in, i%len(f.Model.Variants), batches[i])
		}
		var all sync.WaitGroup
		for i := range batches {
			all.Go(func() {
				for range rounds {
					out, err := in.Run(f.Context(), i%len(f.Model.Variants), batches[i])
					if err != nil {
						f.Errorf("slot %d: %v", i, err)
						return
					}
					for o := range out {
						f.near("output of a slot beside others", out[o], out[o].Data, want[i][o].Data)
					}
				}
			})
		}
		all.Wait()
		if n := in.Slots(); n != slots {
			f.Errorf("an instance of %d slots has %d later", slots, n)
		}
	})
}
