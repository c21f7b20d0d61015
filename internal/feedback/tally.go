package feedback

import (
	"math"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
)

// tally is what was measured of a variant or a cascade.
type tally struct {
	accepted, duplicate, unanswered int
	measured                        [2]queue[result] // of selected items, and of sampled ones
}

// result is the score of a labelled item.
type result struct {
	score         float64
	at            slo.Instant
	promised, low slo.Accuracy
}

// add counts a score.
func (t *tally) add(r result, sampled bool) {
	t.accepted++
	q := &t.measured[place(sampled)]
	if q.len() == status.MeasuredItemsMax {
		q.drop(1)
	}
	q.put(r)
}

func place(sampled bool) int {
	if sampled {
		return 1
	}
	return 0
}

// Report returns what is known of a model. now is the instant of the wall clock's time.
// With details it has what a new profile needs.
func (s *Store) Report(m *modelpkg.Model, now slo.Instant, wall time.Time, details bool) status.Feedback {
	f := status.Feedback{Model: m.Name, Version: m.Version, Now: wall.UTC(), KeptItemsMax: s.cfg.ItemsMax, KeepS: s.cfg.Keep.Seconds(), Variants: []status.VariantFeedback{}}
	if details {
		f.Digest, f.Metric = m.Digest, m.Scoring.Title()
	}
	b := s.book(m)
	b.mu.Lock()
	b.forget(s, now, 0, 0)
	f.KeptItems, f.KeptBytes, f.Unknown = b.items.len(), int64(b.rows.len()), b.unknown
	results := make([][2][]result, len(b.tallies))
	for v := range b.tallies {
		t := &b.tallies[v]
		if t.accepted+t.duplicate+t.unanswered == 0 {
			continue
		}
		f.Variants = append(f.Variants, status.VariantFeedback{Name: b.names[v], Accepted: t.accepted, Duplicate: t.duplicate, Unanswered: t.unanswered})
		for k := range t.measured {
			q := &t.measured[k]
			results[len(f.Variants)-1][k] = q.get(make([]result, 0, q.len()), q.head, q.len())
		}
	}
	b.mu.Unlock() // the rest takes milliseconds
	for v := range f.Variants {
		at := func(t slo.Instant) time.Time { return wall.Add(-now.Sub(t)).UTC() }
		f.Variants[v].Selected = measured(results[v][place(false)], at, details)
		f.Variants[v].Sampled = measured(results[v][place(true)], at, details)
	}
	return f
}

// round rounds to the unit of accuracies.
func round(x float64) float64 {
	const unit = float64(slo.AccuracyUnit)
	return math.Round(x*unit) / unit
}

// measured returns the accuracy of scores.
func measured(results []result, at func(slo.Instant) time.Time, details bool) (m status.Measured) {
	if len(results) == 0 {
		return m
	}
	scores := make([]float64, len(results))
	var promised, low slo.Score
	bounded := true
	first, last := results[0].at, results[0].at
	for i, r := range results {
		scores[i] = r.score
		if r.score == 1 {
			m.Right++
		}
		promised, low = promised+slo.Score(r.promised), low+slo.Score(r.low)
		bounded = bounded && r.low > 0
		first, last = min(first, r.at), max(last, r.at)
	}
	var by string
	m.Items = len(scores)
	m.Accuracy, m.Low, m.High, by = score.Interval(scores)
	m.Low, m.High = round(m.Low), round(m.High)
	m.Promised = promised.Mean(m.Items).Float()
	if bounded {
		m.PromisedLow = low.Mean(m.Items).Float()
	}
	m.First, m.Last = at(first), at(last)
	if details && by != score.ByWilson {
		m.Scores = scores
	}
	return m
}
