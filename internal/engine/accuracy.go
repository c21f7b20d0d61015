package engine

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// accuracies follows how accurate the variants of a deployment are while it serves.
// Evidence is counted by variant as declared, over all sizes of inputs.
type accuracies struct {
	names      []string       // of the variants as declared, then of the points of cascades and of gates
	bases      int            // variants among them
	base       []int          // by variant of the model: its place in names
	places     map[string]int // by name of a variant or a cascade, of any size of inputs: its place in names
	points     []point        // the cascades' points
	profile    []slo.Accuracy
	reference  int // the most accurate one
	judge      *score.Judge
	confidence func([]float64) float64 // of an answer, as gates see it
	frontier   []int                   // the other variants that no mix makes superfluous
	// comparable says that agreement with the reference tells how accurate a variant is.
	comparable bool

	mu       sync.Mutex
	monitor  *drift.Monitor
	hints    *drift.Hints
	recovery allowance      // for shadow runs that do not wait for idle time
	turn     int            // the last one of the frontier that a shadow run ran
	caps     []slo.Accuracy // by name: the monitor's
	shadows  shadowCounts
}

// point is a point of a cascade.
type point struct {
	first, then int // places of its variants
	threshold   float64
}

// newAccuracies begins to follow a model that has just been loaded, with or without its
// cascades.
func newAccuracies(m *modelpkg.Model, p *modelpkg.Profile, cascades bool) *accuracies {
	a := &accuracies{names: m.Bases(), bases: len(m.Bases()), places: map[string]int{}, judge: score.NewJudge(m.Scoring, m.Outputs[0].Shape, score.Labels{}, nil), confidence: m.Scoring.Confidence}
	spec := drift.Spec{}
	a.comparable = m.Scoring.Comparable()
	reference := m.Variants[p.Reference()].Declared()
	for i, v := range m.Variants {
		at := slices.Index(a.names, v.Declared())
		a.base, a.places[v.Name] = append(a.base, at), at
		if at < len(spec.Variants) {
			continue // another size of the same
		}
		measured := p.Variants[i]
		one := drift.Variant{Accuracy: accuracyOf(measured.Accuracy.Mean), Low: measured.Accuracy.Bounds(p.VariantBounds(m))[slo.ConfidenceShown-1],
			Agreement: math.NaN(), AgreementLow: math.NaN(), Confidence: math.NaN()}
		if measured.Confidence > 0 {
			one.Confidence = measured.Confidence
		}
		if g := measured.Agreement; g != nil && g.With == reference {
			one.Agreement, one.AgreementLow = g.Mean, g.Low
		} else if !m.Scoring.AgreementBounds() {
			a.comparable = false // an older profile, and it does not follow from the accuracies
		}
		if v.Declared() == reference {
			a.reference = at
		}
		spec.Variants, a.profile = append(spec.Variants, one), append(a.profile, one.Accuracy)
	}
	spec.Reference = a.reference
	if cascades {
		a.withCascades(m, p, &spec)
	}
	a.monitor, a.hints = drift.New(spec), drift.NewHints(usual(m, p, a))
	a.caps = a.monitor.Caps(nil)
	return a
}

// withCascades follows the points of cascades and gates too. How far their answers agree
// with the reference's is not known from the profile.
func (a *accuracies) withCascades(m *modelpkg.Model, p *modelpkg.Profile, spec *drift.Spec) {
	for _, c := range plan.CascadesOf(m, p) {
		name := c.Point.Named(c.Point.First, c.Point.Then)
		at := slices.Index(a.names, name)
		if at < 0 {
			at, a.names = len(a.names), append(a.names, name)
			a.points = append(a.points, point{first: a.base[c.First], then: a.base[c.Then], threshold: c.Point.Threshold})
			one := drift.Variant{Accuracy: c.Accuracy, Low: p.Cascades.Low(c.Point)[slo.ConfidenceShown-1], Agreement: math.NaN(), AgreementLow: math.NaN(), Confidence: math.NaN()}
			if !m.Scoring.AgreementBounds() {
				one.AgreementLow = 0 // any agreement is as promised
			}
			spec.Variants, a.profile = append(spec.Variants, one), append(a.profile, one.Accuracy)
		}
		a.places[c.Name] = at
	}
	for _, g := range plan.GatesOf(m, p) { // a shadow run cannot repeat what a gate does, so only labels count
		a.places[g.Name], a.names = len(a.names), append(a.names, g.Name)
		spec.Variants = append(spec.Variants, drift.Variant{Accuracy: g.Accuracy, Low: g.Low[slo.ConfidenceShown-1], Agreement: math.NaN(), Confidence: math.NaN()})
		a.profile = append(a.profile, g.Accuracy)
	}
}

// seeFrontier notes the declared variants, other than the reference, that planning may
// choose when all modalities are there.
func (a *accuracies) seeFrontier(p *plan.Planner) {
	for _, f := range p.Frontier(p.All()) {
		if f.Route >= len(a.base) {
			continue // of several steps
		}
		if base := a.base[f.Route]; base != a.reference && !slices.Contains(a.frontier, base) {
			a.frontier = append(a.frontier, base)
		}
	}
}

// usual returns what the profile says of answers and inputs.
func usual(m *modelpkg.Model, p *modelpkg.Profile, a *accuracies) drift.Usual {
	u := drift.Usual{Classes: m.Labels, Samples: p.Samples}
	for i := range m.Variants {
		if a.base[i] < len(u.Variants) {
			continue // another size of the same
		}
		one := drift.UsualAnswers{Name: a.names[a.base[i]], Confidence: math.NaN(), Predicted: p.Variants[i].Predicted, Primaries: p.Variants[i].Primaries}
		if v := p.Variants[i]; v.Confidence > 0 {
			one.Confidence = v.Confidence
		}
		u.Variants = append(u.Variants, one)
	}
	for _, name := range m.ModalityNames() {
		u.Modalities = append(u.Modalities, drift.UsualPresence{Name: name})
	}
	for _, in := range p.Inputs {
		u.Inputs = append(u.Inputs, drift.UsualInput{Name: in.Name, Level: in.Level, Deviation: in.Deviation, Blank: in.Blank})
	}
	return u
}

func accuracyOf(share float64) slo.Accuracy {
	a, _ := slo.AccuracyOf(max(0, min(1, share)))
	return a
}

// Label says how right an answer of a variant or a cascade was, by its name. Labelled answers
// must have been chosen at random. Models that are not served any more are ignored.
func (e *Engine) Label(model, version, of string, score float64) {
	d, err := e.catalogue.Load().find(model, version)
	if err != nil {
		return
	}
	if at, known := d.live.places[of]; known {
		e.evident(d, func(a *accuracies) drift.Change { return a.monitor.Label(at, score) })
	}
}

// evident takes in an observation and, if it matters, gives the core new accuracies.
func (e *Engine) evident(d *deployment, observe func(a *accuracies) drift.Change) {
	a := d.live
	a.mu.Lock()
	defer a.mu.Unlock() // held until the message is posted, so that a later one is not overtaken
	change := observe(a)
	if change == drift.None {
		return
	}
	before := a.caps
	a.caps = a.monitor.Caps(nil)
	state := a.monitor.State()
	e.reportDrift(d, change, before, &state)
	if e.cfg.OnDrift == drift.Report {
		return
	}
	p := d.planner
	if state.Changed {
		p = d.planner.Capped(d.routing.caps(a, e.cfg.OnDrift == drift.Refuse))
	}
	e.post(func(l *loop) { l.replan(d, p) })
}

// caps returns the most that each of the core's routes may be credited with.
func (r *routing) caps(a *accuracies, none bool) (most []slo.Accuracy) {
	for i, route := range r.planner.Routes() {
		limit := route.Accuracy
		if i < len(r.variants) {
			limit = a.caps[a.base[r.variants[i].variant]]
		} else if at, known := a.places[route.Name]; known {
			limit = a.caps[at]
		}
		if none {
			limit = 0
		}
		most = append(most, limit)
	}
	return most
}

// reportDrift logs what has changed: accuracies before and after, and the evidence.
func (e *Engine) reportDrift(d *deployment, change drift.Change, before []slo.Accuracy, s *drift.State) {
	log := e.log.With("model", d.Model.Name, "version", d.Model.Version, "on_drift", e.cfg.OnDrift.String())
	for i, v := range s.Variants {
		if v.Cap == before[i] && change != drift.Noticed {
			continue
		}
		args := []any{"variant", d.live.names[i], "before", before[i].Float(), "after", v.Cap.Float()}
		for _, source := range []struct {
			name string
			drift.SourceState
		}{{"labels", v.Labels}, {"shadows", v.Shadows}} {
			if source.Lowered {
				args = append(args, source.name, fmt.Sprintf("mean %.4f of %.0f, promised %.4f", source.Mean, source.N, source.Promised))
			}
		}
		switch {
		case change == drift.Noticed && (v.Labels.Lowered || v.Shadows.Lowered) && v.Cap != before[i]:
			log.Warn("drift: answers score less than the profile says", args...)
		case change == drift.Restored:
			log.Info("drift: answers score again what the profile says", args...)
		default:
			log.Debug("drift: an estimate has moved", args...)
		}
	}
}

// replan gives the core a model's new accuracies.
func (l *loop) replan(d *deployment, p *plan.Planner) {
	if d.number >= len(l.deployments) || l.deployments[d.number] != d || p == d.current.Load() {
		return // removed meanwhile, or nothing has changed
	}
	d.current.Store(p)
	d.told = d.told.Replanned(p)
	l.take(&feed.Step{Event: sched.Replan{Model: d.number, Planner: p}, Model: d.told})
}
