// Package drift notices while a model serves that a variant is less accurate than its
// profile says, and estimates how accurate it still is. A Monitor watches one model. It
// learns from labels, which say how right an answer was, and from shadow runs, which say
// how far an answer agrees with that of the most accurate variant, the reference.
//
// A sequential test (detector.go) decides whether the mean has fallen. It may look after
// every observation: its rate of false alarms holds for any number of looks and any data.
// After an alarm the variant is lowered for that source: the planner may credit it with no
// more than a lower bound of its live mean (source.go). The same test decides that it has
// recovered. Hints (hints.go) say which inputs and answers look unusual; they lower nothing.
//
// The package is pure: it has no clock, goroutines or locks. An observation costs constant
// time on average, and no allocation.
package drift

import (
	"math"
	"slices"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Spec is what a profile says of a model.
type Spec struct {
	Variants  []Variant // in the model's order
	Reference int       // the most accurate variant, which shadow runs use
}

// Variant is what a profile says of a variant.
type Variant struct {
	Accuracy slo.Accuracy // the mean
	Low      slo.Accuracy // its lower bound at slo.ConfidenceShown; 0: none
	// Agreement is the mean agreement with the reference on the profile's samples, and
	// AgreementLow its lower bound; NaN: not known.
	Agreement, AgreementLow float64
	// Confidence is the mean confidence on the profile's samples; NaN: not known.
	Confidence float64
}

// Change is what an observation changed.
type Change uint8

// The changes. After each but None, Caps may return other values.
const (
	None     Change = iota
	Noticed         // a mean has fallen: an alarm
	Moved           // an estimate has moved
	Restored        // a mean is again as the profile says

	climbed // a lowered mean has risen; Moved to others
)

// String returns the name of a change.
func (c Change) String() string {
	return [...]string{"none", "noticed", "moved", "restored"}[c]
}

// movedMin is by how much a cap must change so that it is worth planning again: a tenth of
// a percentage point.
const movedMin slo.Accuracy = 1000

// Monitor watches one model.
type Monitor struct {
	spec     Spec
	variants []watched
	caps     []slo.Accuracy
	scratch  []slo.Accuracy
	calm     calm    // of the reference's confidence
	drop     float64 // by how much all caps are lower for the reference's confidence
	changed  bool    // a variant is lowered
	shown    bool    // and shadow runs have shown it too
	ignored  int64
}

// watched is what is known of a variant.
type watched struct {
	labels, shadows source
	confidence      confidence // since the data have changed
}

// New returns a monitor that has observed nothing.
func New(spec Spec) *Monitor {
	spec.Variants = slices.Clone(spec.Variants)
	m := &Monitor{spec: spec, variants: make([]watched, len(spec.Variants))}
	m.caps, m.scratch = make([]slo.Accuracy, len(spec.Variants)), make([]slo.Accuracy, len(spec.Variants))
	for i, v := range spec.Variants {
		m.caps[i] = v.Accuracy
		m.variants[i] = watched{labels: newSource(v.promised()), shadows: newSource(spec.agreement(i)), confidence: confidence{usual: v.Confidence}}
	}
	return m
}

// promised is the mean below which an accuracy counts as fallen. It is the lower bound:
// the mean itself is too high for half of all profiles, by luck, and would then raise
// alarms although nothing has changed.
func (v Variant) promised() float64 {
	if v.Low > 0 {
		return v.Low.Float()
	}
	return v.Accuracy.Float()
}

// agreement is the same for the agreement of a variant with the reference. If the profile
// does not have it, it is what follows from both accuracies: two answers that are both
// right agree.
func (s Spec) agreement(variant int) float64 {
	v := s.Variants[variant]
	if !math.IsNaN(v.AgreementLow) {
		return clip(v.AgreementLow)
	}
	return clip(v.promised() + s.Variants[s.Reference].promised() - 1)
}

func clip(x float64) float64 { return max(0, min(1, x)) }

// Label observes the score of an answer of a variant. Answers with labels must be chosen at
// random: labels of wrong answers alone say nothing of the mean.
func (m *Monitor) Label(variant int, score float64) Change {
	if !m.valid(variant, score) {
		return None
	}
	s := &m.variants[variant].labels
	if s.lowered {
		m.calm = calm{}
	}
	found := s.observe(score, math.NaN(), m.alarmRate())
	if found == Noticed {
		m.calm = calm{}
	}
	return m.after(found)
}

// Shadow observes a shadow run: how far the answer of a variant agrees with that of the
// reference, and how confident the reference is; NaN: not known, or observed before.
func (m *Monitor) Shadow(variant int, agreement, referenceConfidence float64) Change {
	if !m.valid(variant, agreement) {
		return None
	}
	if !(referenceConfidence >= 0 && referenceConfidence <= 1) {
		referenceConfidence = math.NaN()
	}
	found := m.confident(m.spec.Reference, referenceConfidence)
	if variant != m.spec.Reference {
		s := &m.variants[variant].shadows
		if of := s.observe(agreement, referenceConfidence, m.alarmRate()); of != None {
			found = of
		}
		if found == climbed && s.began.confidences >= confidenceRuns {
			for i := range m.variants { // what they say of the time before the rise
				m.variants[i].confidence.forget()
			}
			m.variants[m.spec.Reference].confidence.begin(s.began)
		}
		if found == Noticed {
			m.calm, m.shown = calm{}, true
			m.variants[m.spec.Reference].confidence.begin(s.began)
		}
	}
	return m.after(found)
}

// Confident observes how confident an answer of a variant is; NaN: not known.
func (m *Monitor) Confident(variant int, confidence float64) Change {
	if confidence != confidence || !m.valid(variant, confidence) {
		return None
	}
	return m.after(m.confident(variant, confidence))
}

// confident takes in a confidence, if it is one.
func (m *Monitor) confident(variant int, x float64) Change {
	c := &m.variants[variant].confidence
	if !m.changed || x != x || math.IsNaN(c.usual) {
		return None
	}
	found := c.observe(x)
	if variant == m.spec.Reference && m.calm.observe(x, c.usual) && m.outdated() {
		return Restored
	}
	return found
}

func (m *Monitor) valid(variant int, score float64) bool {
	if variant < 0 || variant >= len(m.variants) || !(score >= 0 && score <= 1) {
		m.ignored++
		return false
	}
	return true
}

// Changed reports whether a variant is lowered: the data are not as those of the profile.
func (m *Monitor) Changed() bool { return m.changed }

// Lowered reports whether a variant counts less than its profile says.
func (m *Monitor) Lowered(variant int) bool {
	return m.variants[variant].labels.lowered || m.variants[variant].shadows.lowered
}

// lowered reports whether any variant is, beyond suspicion: then the data have changed.
func (m *Monitor) lowered() bool {
	for i := range m.variants {
		if w := &m.variants[i]; w.labels.proven() || w.shadows.proven() {
			return true
		}
	}
	return false
}

// alarmRate is the rate of false alarms now: once one variant is lowered, the data have
// changed, and the others are likely to have fallen too.
func (m *Monitor) alarmRate() float64 {
	if m.changed {
		return alarmRateChanged
	}
	return alarmRate
}

// Answered says that a variant has answered a request. Labels of it can come.
func (m *Monitor) Answered(variant int) {
	if m.changed && m.variants[variant].labels.lowered {
		m.calm = calm{}
	}
}

// outdated ends what labels said if shadow runs show that the data are again as those of
// the profile, if they had shown the change at all. Otherwise a variant that no request may
// use would stay lowered for ever: it gets no labels. While it answers requests, its labels
// alone decide.
func (m *Monitor) outdated() (found bool) {
	if !m.shown {
		return false
	}
	for i := range m.variants {
		if m.variants[i].shadows.proven() {
			return false
		}
	}
	for i := range m.variants {
		if l := &m.variants[i].labels; l.lowered {
			l.restore()
			found = true
		}
	}
	return found
}

// after computes the caps again where something changed that they depend on.
func (m *Monitor) after(found Change) Change {
	if found == None {
		return None
	}
	if found == climbed {
		found = Moved
	}
	if m.changed = m.lowered(); !m.changed {
		m.shown = false
		for i := range m.variants { // what was suspected because of the change, too
			w := &m.variants[i]
			w.confidence.forget()
			if w.labels.lowered {
				w.labels.restore()
			}
			if w.shadows.lowered {
				w.shadows.restore()
			}
		}
	}
	m.drop = m.variants[m.spec.Reference].confidence.drop()
	m.shown = m.shown || m.drop > restoreSlack
	moved := false
	for i := range m.caps {
		m.scratch[i] = m.cap(i)
		change := m.scratch[i] - m.caps[i]
		moved = moved || change >= movedMin || change <= -movedMin
	}
	if found == Moved && !moved {
		return None
	}
	copy(m.caps, m.scratch)
	return found
}

// cap returns the most that a variant may be credited with.
func (m *Monitor) cap(variant int) slo.Accuracy {
	v, w := m.spec.Variants[variant], &m.variants[variant]
	most := v.Accuracy.Float() - max(m.drop, w.confidence.drop())
	if w.labels.lowered {
		most = min(most, w.labels.low)
	}
	if w.shadows.lowered {
		most = min(most, m.fromShadows(variant, w.shadows.low))
	}
	return min(v.Accuracy, slo.Accuracy(clip(most)*float64(slo.AccuracyUnit)))
}

// fromShadows returns the accuracy that follows from an agreement with the reference: it
// has fallen as the agreement has, and as the reference has. If the profile does not have
// the agreement, an answer that agrees with a right one is right, and all others may be
// wrong.
func (m *Monitor) fromShadows(variant int, agreement float64) float64 {
	v, reference := m.spec.Variants[variant], m.spec.Variants[m.spec.Reference]
	if math.IsNaN(v.Agreement) {
		return reference.Accuracy.Float() - m.fall() - (1 - agreement)
	}
	return v.Accuracy.Float() - m.fall() - (v.Agreement - agreement)
}

// fall is by how much the reference is assumed to be less accurate than in the profile.
func (m *Monitor) fall() float64 {
	if l := &m.variants[m.spec.Reference].labels; l.lowered {
		return max(m.drop, m.spec.Variants[m.spec.Reference].Accuracy.Float()-l.low)
	}
	return m.drop
}

// Caps appends to dst[:0], by variant, the most that it may be credited with now: its
// profile's accuracy if nothing is known against it.
func (m *Monitor) Caps(dst []slo.Accuracy) []slo.Accuracy { return append(dst[:0], m.caps...) }
