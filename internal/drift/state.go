package drift

import "github.com/mosel-serve/mosel/internal/slo"

// State is what a monitor knows, as plain data.
type State struct {
	Variants []VariantState // in the model's order
	// Changed says that a variant is lowered: the data are not as those of the profile.
	Changed bool
	// ConfidenceDrop is by how much all caps are lower because the reference is less
	// confident since the data have changed.
	ConfidenceDrop float64
	// Ignored counts observations that were no scores: NaN, outside [0, 1], or of no variant.
	Ignored int64
}

// VariantState is what a monitor knows of a variant.
type VariantState struct {
	Cap     slo.Accuracy // the most that it may be credited with
	Live    Live         // how accurate it is, from labels and shadow runs together
	Labels  SourceState
	Shadows SourceState // scores are agreements with the reference
}

// SourceState is what labels, or shadow runs, say of a variant.
type SourceState struct {
	Total    int64   // observations in all
	Lowered  bool    // the mean has fallen
	Promised float64 // the mean that is tested
	// N is the number of observations in the estimate: the latest, with less weight the
	// older they are, and after an alarm only those since the change began.
	N         float64
	Mean      float64 // 0 if N is 0
	Low, High float64 // each is wrong with probability 0.05 at any one time
	// Evidence is how far the test has come: at 1 it decides. It tests whether the mean has
	// fallen; while Lowered, whether it has recovered.
	Evidence float64
	Since    int64 // while Lowered: observations since the change began
	Alarms   int
}

// State returns what the monitor knows.
func (m *Monitor) State() State {
	s := State{Variants: make([]VariantState, len(m.variants)), Changed: m.changed, ConfidenceDrop: m.drop, Ignored: m.ignored}
	for i := range m.variants {
		w := &m.variants[i]
		s.Variants[i] = VariantState{Cap: m.caps[i], Live: m.live(i), Labels: w.labels.state(m.alarmRate()), Shadows: w.shadows.state(m.alarmRate())}
	}
	return s
}

func (s *source) state(rate float64) SourceState {
	state := SourceState{
		Total: s.total, Lowered: s.lowered, Promised: s.promised, N: s.live.n, Mean: s.live.mean(), High: 1,
		Evidence: s.fall.value() * rate, Since: s.since, Alarms: s.alarms,
	}
	if s.live.n > 0 {
		state.Low, state.High = s.live.low(s.fractional, boundMiss), s.live.high(s.fractional, boundMiss)
	}
	if s.lowered {
		state.Evidence = s.rise.value() * restoreRate
	}
	return state
}
