package modelpkg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Intermediate is a tensor that a stage gives to later ones. Two variants have the same
// one if they compute it in the same way: what one has computed for an item can then be
// used by the other.
type Intermediate struct {
	Unit int    // Step.Unit of the step that gives it
	Name string // of the tensor, in the graph
}

// numberUnits gives the steps of all variants their units: steps with the same stage
// and the same sources have the same one.
func (m *Model) numberUnits() {
	units := map[string]int{}
	for _, v := range m.Variants {
		for k := range v.Steps {
			step := &v.Steps[k]
			sources := make([]string, 0, len(step.Inputs))
			for _, s := range step.Inputs {
				from := fmt.Sprint("input ", s.Input)
				if s.Input < 0 {
					from = fmt.Sprint("unit ", v.Steps[s.Step].Unit)
				}
				sources = append(sources, fmt.Sprintf("%q of %s", s.Name, from))
			}
			slices.Sort(sources)
			key := fmt.Sprint(step.Stage, " ", strings.Join(sources, ", "))
			unit, known := units[key]
			if !known {
				unit = len(units)
				units[key] = unit
			}
			step.Unit = unit
		}
	}
}

// intermediateOf returns the value that a source names.
func intermediateOf(steps []Step, s Source) Intermediate {
	return Intermediate{Unit: steps[s.Step].Unit, Name: s.Name}
}

// Handed returns the outputs of a step: its own Outputs, then those that steps of other
// variants with the same unit have beside them.
func (m *Model) Handed(variant, step int) []string {
	steps, _ := m.StepsOf(variant)
	names := slices.Clone(steps[step].Outputs)
	if m.Variants[variant].Steps == nil {
		return names
	}
	for _, v := range m.Variants {
		for _, other := range v.Steps {
			if other.Unit != steps[step].Unit {
				continue
			}
			for _, name := range other.Outputs {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// Needed returns which steps of a variant have to run to compute some values and,
// unless inner is set, the model's outputs, if other values are given. inputs are the
// model's inputs that these steps read, in ascending order. The error says which value
// the variant does not have.
func (m *Model) Needed(variant int, given, keep []Intermediate, inner bool) (run []bool, inputs []int, err error) {
	steps, _ := m.StepsOf(variant)
	run = make([]bool, len(steps))
	run[len(steps)-1] = !inner
	for _, value := range keep {
		k := m.giver(variant, value)
		if k < 0 {
			return nil, nil, fmt.Errorf("variant %s has no stage that gives %q", m.Variants[variant].Name, value.Name)
		}
		run[k] = true
	}
	for k := len(steps) - 1; k >= 0; k-- {
		if !run[k] {
			continue
		}
		for _, s := range steps[k].Inputs {
			switch {
			case s.Input >= 0:
				if !slices.Contains(inputs, s.Input) {
					inputs = append(inputs, s.Input)
				}
			case !slices.Contains(given, intermediateOf(steps, s)):
				run[s.Step] = true
			}
		}
	}
	slices.Sort(inputs)
	return run, inputs, nil
}

// giver returns the step of a variant that gives a value, -1 if there is none.
func (m *Model) giver(variant int, value Intermediate) int {
	for k, step := range m.Variants[variant].Steps {
		if step.Unit == value.Unit && slices.Contains(m.Handed(variant, k), value.Name) {
			return k
		}
	}
	return -1
}

// Handover returns the values with which a run of a variant can begin if other variants
// ran on the same item before. Nil: it shares no stage with them.
func (m *Model) Handover(to int, from ...int) []Intermediate {
	computed := map[int]bool{}
	for _, v := range from {
		for _, step := range m.Variants[v].Steps {
			computed[step.Unit] = true
		}
	}
	steps := m.Variants[to].Steps
	if len(steps) == 0 {
		return nil
	}
	var values []Intermediate
	run := make([]bool, len(steps))
	run[len(steps)-1] = true
	for k := len(steps) - 1; k >= 0; k-- {
		if !run[k] {
			continue
		}
		for _, s := range steps[k].Inputs {
			if s.Input >= 0 {
				continue
			}
			value := intermediateOf(steps, s)
			switch {
			case !computed[value.Unit]:
				run[s.Step] = true
			case !slices.Contains(values, value):
				values = append(values, value)
			}
		}
	}
	return values
}

// StageRun is a stage as it is profiled: with the sizes that the inputs behind it have,
// if these have buckets.
type StageRun struct {
	Stage int // index into Model.Stages
	Sizes slo.Sizes
	Name  string // of the stage, with the sizes, such as text_encoder@64
}

// StageRuns lists the stages as they are profiled, in the order of the stages. of is, by
// variant and step, the index of what the step runs.
func (m *Model) StageRuns() (runs []StageRun, of [][]int) {
	type key struct {
		stage int
		sizes slo.Sizes
	}
	known := map[key]int{}
	of = make([][]int, len(m.Variants))
	for stage := range m.Stages {
		for v := range m.Variants {
			steps := m.Variants[v].Steps
			if of[v] == nil {
				of[v] = make([]int, len(steps))
			}
			for k, step := range steps {
				if step.Stage != stage {
					continue
				}
				sizes, suffix := m.sizesBehind(v, k)
				at, seen := known[key{stage, sizes}]
				if !seen {
					at = len(runs)
					known[key{stage, sizes}] = at
					runs = append(runs, StageRun{Stage: stage, Sizes: sizes, Name: m.Stages[stage].Name + suffix})
				}
				of[v][k] = at
			}
		}
	}
	return runs, of
}

// sizesBehind returns the sizes of the inputs on which a step depends, and how these are
// written.
func (m *Model) sizesBehind(variant, step int) (sizes slo.Sizes, suffix string) {
	v := &m.Variants[variant]
	depends := make([]bool, len(m.Inputs))
	needed := make([]bool, len(v.Steps))
	needed[step] = true
	for k := step; k >= 0; k-- {
		for _, s := range v.Steps[k].Inputs {
			switch {
			case !needed[k]:
			case s.Input >= 0:
				depends[s.Input] = true
			default:
				needed[s.Step] = true
			}
		}
	}
	for i, in := range m.Inputs {
		if !depends[i] || in.Buckets == nil {
			continue
		}
		number, leader := in.Buckets.Number, in.Buckets.Of
		bucket := v.Sizes.Bucket(number)
		if bucket < 0 || sizes.Bucket(number) >= 0 {
			continue
		}
		sizes = sizes.With(number, bucket)
		suffix += "@" + sizesText(m.Inputs[leader].Shape, m.Inputs[leader].Buckets.Shapes[bucket])
	}
	return sizes, suffix
}
