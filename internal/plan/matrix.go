package plan

import (
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Matrix holds the cheapest strategy for every job size and accuracy target, as the
// paper's offline stage does. The server does not need it, because it plans a strategy
// when a job arrives. It shows people what a floor costs.
type Matrix struct {
	Sizes   []int
	Targets []slo.Accuracy
	Cells   [][]Cell // [size][target]
}

// Cell is one entry of a Matrix. Feasible is false if no route reaches the target.
type Cell struct {
	Strategy Strategy
	Feasible bool
}

// MatrixTargets is the number of accuracy targets of the paper's matrix.
const MatrixTargets = 42

// Matrix plans every job size from 1 to sizeMax for MatrixTargets floors, evenly spread
// from the lowest to the highest accuracy of the allowed routes.
func (p *Planner) Matrix(sizeMax int, allowed Set) Matrix {
	m := Matrix{Targets: p.targets(allowed)}
	for n := 1; n <= sizeMax; n++ {
		row := make([]Cell, len(m.Targets))
		for i, target := range m.Targets {
			row[i].Strategy, row[i].Feasible = p.Cheapest(n, target.Times(n), allowed)
		}
		m.Sizes = append(m.Sizes, n)
		m.Cells = append(m.Cells, row)
	}
	return m
}

func (p *Planner) targets(allowed Set) []slo.Accuracy {
	high := p.MaxAccuracy(allowed)
	low := high
	for i := range p.routes {
		v := &p.routes[i]
		if allowed.Has(i) {
			low = min(low, v.Accuracy)
		}
	}
	targets := make([]slo.Accuracy, MatrixTargets)
	for i := range targets {
		targets[i] = low + slo.Accuracy(int64(high-low)*int64(i)/(MatrixTargets-1))
	}
	return targets
}

// AllTime returns the time of n items on the modality-agnostic variant, that is, the
// cost of all modalities. It is 0 for an empty set.
func (p *Planner) AllTime(n int, allowed Set) time.Duration {
	v := p.Agnostic(allowed)
	if v < 0 {
		return 0
	}
	return p.routes[v].Curve.Time(n)
}
