package profiler

import (
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/tensor"
)

// sumOffMax is how much the sum of a variant's stages may differ from the time of the
// whole variant. A variant with a larger difference is measured as a whole: its stages
// take more or less time together than alone, for example because of the caches.
const sumOffMax = 0.1

// stage is a stage that is timed alone.
type stage struct {
	part    runtime.Part // without items and given rows
	given   [][]tensor.Tensor
	pool    []runtime.Item // samples whose given rows are known
	timings []timing       // by batch
}

// prepareStages gets ready to time each stage of the model alone, and runs it once with
// every batch size. It does nothing if the runtime cannot run a stage alone.
func (r *run) prepareStages(instance runtime.Instance) error {
	if len(r.m.Stages) == 0 || r.o.Timed != nil {
		return nil
	}
	for v := range r.m.Variants {
		if r.m.Variants[v].Steps != nil && !runtime.Keeps(instance, v) {
			return nil
		}
	}
	runs, of := r.m.StageRuns()
	r.stages, r.stageOf = make([]stage, len(runs)), of
	for s := range r.stages {
		if err := r.prepareStage(instance.(runtime.Staged), s); err != nil {
			r.stages = nil
			return err
		}
	}
	return nil
}

// prepareStage computes what the stage reads from other stages, for the samples of a
// pool.
func (r *run) prepareStage(instance runtime.Staged, index int) error {
	variant, at := r.variantWith(index)
	name := r.m.Stages[r.m.Variants[variant].Steps[at].Stage].Name
	pool := r.items(variant, 0, r.o.Batches[len(r.o.Batches)-1])
	steps := r.m.Variants[variant].Steps
	st := stage{part: runtime.Part{Variant: variant, KeepBytesMax: math.MaxInt, Inner: at < len(steps)-1}, pool: pool, timings: make([]timing, len(r.o.Batches))}
	if st.part.Inner {
		for _, name := range steps[at].Outputs {
			st.part.Keep = append(st.part.Keep, modelpkg.Intermediate{Unit: steps[at].Unit, Name: name})
		}
	}
	for _, source := range steps[at].Inputs {
		if source.Input >= 0 {
			continue
		}
		value := modelpkg.Intermediate{Unit: steps[source.Step].Unit, Name: source.Name}
		_, kept, err := instance.RunStages(r.ctx, runtime.Part{Variant: variant, Items: pool, Keep: []modelpkg.Intermediate{value}, KeepBytesMax: math.MaxInt, Inner: true})
		if err != nil {
			return r.explained(variant, err)
		}
		st.part.Given = append(st.part.Given, runtime.Given{Intermediate: value})
		st.given = append(st.given, runtime.RowsOf(kept[0]))
	}
	r.stages[index] = st
	for b := range r.o.Batches {
		took, err := r.onceStage(instance, index, b, 0)
		if err != nil {
			return r.explained(variant, slo.E("", slo.KindOf(err), "stage %s alone: %w", name, err))
		}
		r.stages[index].timings[b].first = max(took, time.Microsecond)
	}
	return nil
}

// variantWith returns the first variant that runs a stage, and where.
func (r *run) variantWith(stage int) (variant, step int) {
	for v := range r.stageOf {
		if at := slices.Index(r.stageOf[v], stage); at >= 0 {
			return v, at
		}
	}
	panic("profiler: a checked package has a stage that no variant runs")
}

// stageRuns lists the stages that were timed alone.
func (r *run) stageRuns() []modelpkg.StageRun {
	if r.stages == nil {
		return nil
	}
	runs, _ := r.m.StageRuns()
	return runs
}

// onceStage runs one stage alone and returns its time.
func (r *run) onceStage(instance runtime.Staged, index, batch, from int) (time.Duration, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	st := &r.stages[index]
	n := r.o.Batches[batch]
	part := st.part
	part.Given = slices.Clone(st.part.Given)
	for i := range n {
		at := (from + i) % len(st.pool)
		part.Items = append(part.Items, st.pool[at])
		for k := range part.Given {
			part.Given[k].Rows = append(part.Given[k].Rows, st.given[k][at])
		}
	}
	start := time.Now()
	_, _, err := instance.RunStages(r.ctx, part)
	return time.Since(start), err
}

// stageCell returns a stage at a batch size.
func (r *run) stageCell(index, batch int) cell {
	return cell{timing: &r.stages[index].timings[batch], items: r.o.Batches[batch], run: func(instance runtime.Instance, from int) (time.Duration, error) {
		return r.onceStage(instance.(runtime.Staged), index, batch, from)
	}}
}

func (s *stage) batches(sizes []int) (batches []modelpkg.BatchProfile) {
	for b, t := range s.timings {
		batches = append(batches, t.profile(sizes[b]))
	}
	return batches
}

// summed reports whether a variant's stages are timed alone.
func (r *run) summed(variant int) bool { return r.stages != nil && r.m.Variants[variant].Steps != nil }

// checked returns the batch sizes at which the variants of stages are timed as a whole,
// as indices: the smallest, the middle one and the largest.
func (r *run) checked() []int {
	last := len(r.o.Batches) - 1
	return slices.Compact([]int{0, last / 2, last})
}

// off returns how much the sum of a variant's stages differs from its time as a whole,
// at the checked size where it differs most.
func (r *run) off(variant int) (off float64) {
	for _, b := range r.checked() {
		whole := r.timings[variant][b].profile(r.o.Batches[b]).P50MS
		if d := r.sum(variant, b).P50MS/whole - 1; math.Abs(d) > math.Abs(off) {
			off = d
		}
	}
	return off
}

// sum returns the time of a variant's stages one after the other.
func (r *run) sum(variant, batch int) modelpkg.BatchProfile {
	b := modelpkg.BatchProfile{Items: r.o.Batches[batch], MemoryBytes: r.timings[variant][batch].memory, Runs: math.MaxInt}
	for _, s := range r.stageOf[variant] {
		t := r.stages[s].timings[batch].profile(b.Items)
		b.P50MS, b.P95MS, b.Runs = b.P50MS+t.P50MS, b.P95MS+t.P95MS, min(b.Runs, t.Runs)
	}
	return b
}

// notSums returns the cells of the variants that must be measured as a whole at every
// batch size, with nothing timed so far.
func (r *run) notSums() []cell {
	var cells []cell
	for v := range r.m.Variants {
		if !r.summed(v) {
			continue
		}
		off := r.off(v)
		r.sumOff[v] = &modelpkg.StageSum{Used: math.Abs(off) <= sumOffMax, Off: math.Round(off*1e4) / 1e4}
		if r.sumOff[v].Used {
			continue
		}
		for b := range r.o.Batches {
			r.timings[v][b].runs = nil
			cells = append(cells, r.cell(v, b))
		}
	}
	return cells
}

// sums returns the times of a variant of stages: sums over these, or its own if the sums
// are not right.
func (r *run) sums(variant int) (batches []modelpkg.BatchProfile, sum *modelpkg.StageSum) {
	sum = r.sumOff[variant]
	for b := range r.o.Batches {
		if sum.Used {
			batches = append(batches, r.sum(variant, b))
		} else {
			batches = append(batches, r.timings[variant][b].profile(r.o.Batches[b]))
		}
	}
	return batches, sum
}
