// Package exits decides how much of which model to keep loaded, where models of one task
// have early exits. A model is a chain of stages. After each stage an item whose answer is
// sure enough leaves; the others go on. Most items leave early, so most of the time the
// last stages do nothing but use memory.
//
// A Policy keeps the first stages of one model loaded: as many as cover most of the recent
// items. An item that is unsure at the deepest loaded exit is answered there, if the
// expected accuracy allows it. The policy notices when unsure items become more frequent.
// It then compares all models and depths on recent items (probes), and loads more stages
// or switches to another model. The method is that of HELIOS (Kumar and others, 2025).
//
// The package is pure: it handles counts and figures, and loads nothing.
package exits

import "github.com/mosel-serve/mosel/internal/score"

// Model is a chain of stages.
type Model struct {
	Name   string
	Depths []Depth // by the number of stages, from one
}

// Depth is what a model is with its first stages loaded, as measured on labelled samples.
type Depth struct {
	Bytes int64   // memory of the loaded stages
	Load  float64 // milliseconds to load them
	Cost  float64 // milliseconds for an item that runs them all
	// Sure is the share of the items that are sure at one of the exits, and Accuracy the
	// mean score if the last exit answers all others. Agreement is how often these answers
	// are those of the reference, the most accurate model with all its stages.
	Sure, Accuracy, Agreement float64
}

// Point is a choice: a model and how many of its stages are loaded.
type Point struct{ Model, Depth int }

// Probe is what a recent item does on each model if all stages are loaded.
type Probe []Taken

// Taken is the way of an item through a model.
type Taken struct {
	Exit   int    // the number of stages after which the item is sure; one more than all if it never is
	Agrees []bool // by depth: the answer is that of the reference
}

// figures are what is expected of a point.
type figures struct {
	sure, accuracy, cost float64
	low, high            float64 // 95 % bounds of accuracy, as far as probes say
}

// labelled returns the figures of a point on the labelled samples.
func labelled(m Model, depth int) figures {
	d := m.Depths[depth-1]
	f := figures{sure: d.Sure, accuracy: d.Accuracy, low: d.Accuracy, high: d.Accuracy}
	before := 0.0
	for _, at := range m.Depths[:depth] {
		f.cost += (at.Sure - before) * at.Cost
		before = at.Sure
	}
	f.cost += (1 - before) * d.Cost
	return f
}

// probed returns the figures of a point on recent items. The accuracy has fallen as much
// as the agreement with the reference.
func probed(models []Model, at Point, probes []Probe) (f figures) {
	m := models[at.Model]
	d, n, agree := m.Depths[at.Depth-1], float64(len(probes)), 0.0
	for _, p := range probes {
		taken := p[at.Model]
		leaves := min(taken.Exit, at.Depth)
		if taken.Exit <= at.Depth {
			f.sure += 1 / n
		}
		if taken.Agrees[at.Depth-1] {
			agree += 1 / n
		}
		f.cost += m.Depths[leaves-1].Cost / n
	}
	low, high := score.Wilson(agree, n)
	of := func(agreement float64) float64 {
		return max(0, min(d.Accuracy, d.Accuracy-d.Agreement+agreement))
	}
	f.accuracy, f.low, f.high = of(agree), of(low), of(high)
	return f
}
