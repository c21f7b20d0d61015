package conformance_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// modalitiesMax is the number of modalities up to which all subsets are tested.
const modalitiesMax = 6

// subsets returns all non-empty subsets of the model's modalities.
func (m *model) subsets(t *testing.T) [][]string {
	t.Helper()
	all := m.list("modalities")
	if len(all) > modalitiesMax {
		t.Skipf("the properties of model %s give %d modalities: their subsets are too many", m.Name, len(all))
	}
	var list [][]string
	for bits := 1; bits < 1<<len(all); bits++ {
		var subset []string
		for i, name := range all {
			if bits>>i&1 == 1 {
				subset = append(subset, name)
			}
		}
		list = append(list, subset)
	}
	return list
}

// askModalities returns a request with the inputs of some modalities.
func (m *model) askModalities(names []string) ask {
	return m.askOnly(func(input string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(m.list("modality."+name), input) })
	})
}

// TestModalitiesMayBeLeftOut sends every subset. A server accepts those that include
// all modalities of some variant. So if it accepts a subset, it must accept all larger
// ones.
func TestModalitiesMayBeLeftOut(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		taken := [][]string{}
		for _, subset := range m.subsets(t) {
			a := m.infer(t, m.askModalities(subset))
			if a.status == http.StatusOK {
				f := m.facts(t, m.result(t, a))
				for _, name := range f.modalities {
					if !slices.Contains(subset, name) {
						t.Errorf("%v were sent, %v were run", subset, f.modalities)
					}
				}
				taken = append(taken, subset)
				m.checkBest(t, subset, f.accuracy)
				continue
			}
			a.refused(t, http.StatusBadRequest)
			for _, smaller := range taken {
				if !slices.ContainsFunc(smaller, func(name string) bool { return !slices.Contains(subset, name) }) {
					t.Errorf("%v are taken, %v are not: %v", smaller, subset, a)
				}
			}
		}
		if len(taken) == 0 {
			t.Error("not even all modalities together are taken")
		}
		m.checkOptional(t, taken)
	})
}

// checkBest asks for an impossible floor with some of the modalities: the reported best
// must be at least what was promised, and at most the model's best.
func (m *model) checkBest(t *testing.T, subset []string, promised float64) {
	t.Helper()
	best := m.best(t)
	if best > 0.9995 {
		return
	}
	a := m.infer(t, m.askModalities(subset).param(`"min_accuracy":1`))
	a.refused(t, http.StatusUnprocessableEntity)
	var body struct {
		Best *float64 `json:"best_accuracy"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.Best == nil || *body.Best < promised-1e-6 || *body.Best > best+1e-6 {
		t.Errorf("with %v: %v, want best_accuracy from %v to %v", subset, a, promised, best)
	}
}

// checkOptional compares the configuration with what the server accepted: an input is
// optional if some request without it is accepted.
func (m *model) checkOptional(t *testing.T, taken [][]string) {
	t.Helper()
	if !m.server.lists("model_configuration") {
		return
	}
	for _, in := range m.config.Input {
		without := slices.ContainsFunc(taken, func(subset []string) bool {
			return !slices.ContainsFunc(subset, func(name string) bool { return slices.Contains(m.list("modality."+name), in.Name) })
		})
		if in.Optional != without {
			t.Errorf("input %s is optional by the configuration: %t; a request without it is taken: %t", in.Name, in.Optional, without)
		}
	}
}

func TestModalitiesComeAsAWhole(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		several := 0
		for _, modality := range m.list("modalities") {
			inputs := m.list("modality." + modality)
			if len(inputs) < 2 {
				continue
			}
			several++
			for _, left := range inputs {
				m.infer(t, m.askOnly(func(name string) bool { return name != left })).refused(t, http.StatusBadRequest)
			}
		}
		if several == 0 {
			t.Skipf("the properties of model %s give one input for each modality", m.Name)
		}
	})
}

func TestModalitiesMayBeChosen(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		run := 0
		for _, subset := range m.subsets(t) {
			for _, spelt := range []string{strings.Join(subset, ","), strings.Join(subset, " , ")} {
				a := m.infer(t, m.ask(1).param(`"modalities":`+quote(spelt)))
				if a.status != http.StatusOK {
					a.refused(t, http.StatusBadRequest) // no variant runs on exactly these
					continue
				}
				run++
				if f := m.facts(t, m.result(t, a)); !slices.Equal(f.modalities, subset) {
					t.Errorf("%v were chosen, %v were run", subset, f.modalities)
				}
			}
		}
		if run == 0 {
			t.Error("no choice is possible")
		}
	})
}

func TestModalitiesThatCannotBeChosenAreRefused(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		for _, choice := range []string{`"nothing"`, `""`, `","`, `1`, `true`, quote(m.Properties["modalities"] + ",nothing")} {
			t.Run(choice, func(t *testing.T) {
				m.infer(t, m.ask(1).param(`"modalities":`+choice)).refused(t, http.StatusBadRequest)
			})
		}
		t.Run("what was not sent", func(t *testing.T) {
			all := m.list("modalities")
			if len(all) < 2 {
				t.Skipf("the properties of model %s give one modality", m.Name)
			}
			m.infer(t, m.askModalities(all[:1]).param(`"modalities":`+quote(all[1]))).refused(t, http.StatusBadRequest)
		})
	})
}
