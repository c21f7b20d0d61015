package plan

import (
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// After returns what is left of a variant for items on which other variants ran before:
// an inner variant without the stages whose results are given. ok is false if the
// variants share no stage.
//
// Its time is the share of the variant's time that its remaining stages have in the sum
// of all its stages. Without a profile of the stages, it is the time of the whole
// variant, which the core corrects from measurements.
func After(m *modelpkg.Model, p *modelpkg.Profile, to int, before []int) (v Variant, given []modelpkg.Intermediate, ok bool, err error) {
	if given = m.Handover(to, before...); given == nil {
		return v, nil, false, nil
	}
	variants, err := VariantsOf(m, p)
	if err != nil {
		return v, nil, false, err
	}
	run, _, err := m.Needed(to, given, nil, false)
	if err != nil {
		return v, nil, false, slo.E("plan "+m.Name, slo.KindInternal, "%w", err)
	}
	var names []string
	for _, b := range before {
		names = append(names, m.Variants[b].Name)
	}
	points := allowed(m, p.Variants[to].Batches)
	for i := range points {
		points[i].Time = max(1, time.Duration(float64(points[i].Time)*restOf(m, p, to, run, points[i].Items)))
	}
	v = variants[to]
	v.Name, v.Inner = v.Name+" after "+strings.Join(names, ", "), true
	if v.Curve, err = NewCurve(points); err != nil {
		return v, nil, false, slo.E("plan "+m.Name, slo.KindInvalid, "variant %s: %w", v.Name, err)
	}
	return v, given, true, nil
}

// restOf returns the share that the steps which run have in the time of all steps of a
// variant, in batches of a size; 1 if it is not known.
func restOf(m *modelpkg.Model, p *modelpkg.Profile, variant int, run []bool, items int) float64 {
	if len(p.Stages) == 0 {
		return 1
	}
	var rest, all time.Duration
	_, of := m.StageRuns()
	for k, stage := range of[variant] {
		took, known := timeOf(p.Stages[stage].Batches, items)
		if !known {
			return 1
		}
		if all += took; run[k] {
			rest += took
		}
	}
	return float64(rest) / float64(all)
}

// timeOf returns the measured time of a batch of a size.
func timeOf(batches []modelpkg.BatchProfile, items int) (time.Duration, bool) {
	for _, b := range batches {
		if b.Items == items {
			return stats.FromMilliseconds(b.P50MS), true
		}
	}
	return 0, false
}
