package modelpkg

import (
	"fmt"
	"slices"
	"strings"
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
