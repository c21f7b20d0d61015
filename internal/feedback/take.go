package feedback

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// scored is a record whose labels have been scored.
type scored struct {
	found   bool
	answer  answered
	scores  []float64 // by item; what has no label is not read
	given   []bool    // by item: it has a label or a score
	sampled bool
}

// Take scores records and counts them. It counts all or none: an error, of kind invalid,
// names the first record that is wrong.
func (s *Store) Take(m *modelpkg.Model, now slo.Instant, records []oip.Feedback) (oip.FeedbackResult, error) {
	b := s.book(m)
	list := make([]scored, len(records))
	for i := range records {
		var err error
		if list[i], err = b.score(s, m, now, &records[i]); err != nil {
			if len(records) > 1 {
				err = &oip.FeedbackError{Record: i, Err: err}
			}
			return oip.FeedbackResult{}, slo.E("", slo.KindInvalid, "%w", err)
		}
	}
	var result oip.FeedbackResult
	var evidence []Evidence
	for i := range list {
		unknown := result.Unknown
		evidence = b.count(&list[i], &result, evidence)
		if result.Unknown > unknown && len(result.UnknownIDs) < oip.UnknownIDsMax {
			result.UnknownIDs = append(result.UnknownIDs, records[i].ID)
		}
	}
	if s.cfg.Sink != nil && len(evidence) > 0 {
		for i := range evidence {
			evidence[i].Model, evidence[i].Version = m.Name, m.Version
		}
		s.cfg.Sink(evidence)
	}
	return result, nil
}

// score finds the answer of a record and scores it. Of a request that is not known, only
// the form of its labels can be checked.
func (b *book) score(s *Store, m *modelpkg.Model, now slo.Instant, f *oip.Feedback) (scored, error) {
	n := max(len(f.Labels), len(f.Scores))
	r := scored{scores: make([]float64, n), given: make([]bool, n), sampled: f.Sampled}
	labels := make([]score.Labels, len(f.Labels))
	for i, l := range f.Labels {
		if l.IsNone() {
			continue
		}
		var err error
		if labels[i], err = m.ReadLabel(l.Numbers, l.Names); err != nil {
			return r, fmt.Errorf("item %d: %w", i, err)
		}
		r.given[i] = true
	}
	for i, v := range f.Scores {
		if v != nil {
			r.scores[i], r.given[i] = *v, true
		}
	}
	var rows []byte
	var states []state
	b.mu.Lock()
	if r.answer, r.found = b.find(s, f.ID, now); r.found && int(r.answer.count) == n {
		rows = b.rows.get(nil, r.answer.row, n*int(r.answer.rowBytes))
		for i := range n {
			states = append(states, b.items.at(r.answer.item+uint64(i)).state)
		}
	}
	b.mu.Unlock()
	if !r.found || f.Labels == nil && states != nil {
		return r, nil
	}
	if states == nil {
		return r, fmt.Errorf("request %.80q has %d items, and %d labels or scores were given: give one for each, null for those without a label", f.ID, r.answer.count, n)
	}
	if r.answer.rowBytes == 0 {
		return r, fmt.Errorf("the answer to %.80q was not kept, because answers of more than %d bytes an item are too large: give scores", f.ID, rowBytesMax)
	}
	output := tensor.Tensor{Name: m.Outputs[0].Name, DType: r.answer.dtype, Data: rows,
		Shape: tensor.Shape{int64(n), int64(int(r.answer.rowBytes) / r.answer.dtype.Size())}}
	for i := range n {
		if !r.given[i] || states[i] != open {
			continue
		}
		result, err := m.ScoreAnswer(output, i, labels[i])
		if err != nil {
			return r, fmt.Errorf("item %d of %.80q: %w", i, f.ID, err)
		}
		r.scores[i] = result.Score
	}
	return r, nil
}

// count counts the labels of a record, and appends what they say.
func (b *book) count(r *scored, to *oip.FeedbackResult, evidence []Evidence) []Evidence {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := r.found && r.answer.item >= b.items.head // it may have been forgotten since
	for i, given := range r.given {
		if !given {
			continue
		}
		if !known {
			to.Unknown++
			b.unknown++
			continue
		}
		it := b.items.at(r.answer.item + uint64(i))
		t, sampled := &b.tallies[it.of], r.sampled && !it.partial
		switch it.state {
		case labelled:
			to.Duplicate++
			t.duplicate++
		case failed:
			to.Unanswered++
			t.unanswered++
		default:
			it.state = labelled
			to.Accepted++
			t.add(result{score: r.scores[i], at: r.answer.at, promised: it.promised, low: r.answer.low}, sampled)
			evidence = append(evidence, Evidence{Of: b.names[it.of], Score: r.scores[i], Sampled: sampled, Answered: r.answer.at})
		}
	}
	return evidence
}
