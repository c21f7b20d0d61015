package feedback

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
)

// ProfileItemsMin is the number of labelled items from which on a variant's accuracy is
// taken from them. Its 95 % interval is then at most 0.2 wide.
const ProfileItemsMin = 100

// Profile returns a profile with the accuracies that were measured on labelled answers of a
// server, of items sampled at random only. Everything else is that of an existing profile.
// Variants with too few such items keep their accuracy of that profile if keep is set, and
// say so; otherwise they are an error. Errors have kind invalid.
func Profile(m *modelpkg.Model, base *modelpkg.Profile, f status.Feedback, keep bool, now time.Time) (*modelpkg.Profile, error) {
	op := "make a profile of labels"
	if f.Model != m.Name || f.Digest != m.Digest {
		return nil, slo.E(op, slo.KindInvalid, "the labels are of %s with the digest %.19s; the package is %s with %.19s", f.Model, f.Digest, m.Name, m.Digest)
	}
	if err := check(f); err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	p := *base
	p.Variants = slices.Clone(base.Variants)
	text, err := json.Marshal(f)
	if err != nil {
		return nil, slo.E(op, slo.KindInvalid, "%w", err)
	}
	sum := sha256.Sum256(text)
	p.Created, p.Dataset, p.DatasetDigest, p.Metric = now.UTC().Truncate(time.Second), modelpkg.DatasetFeedback, "sha256:"+hex.EncodeToString(sum[:]), m.Scoring.Title()
	p.Samples, p.Feedback = 0, new(modelpkg.FeedbackOrigin)
	for i := range p.Variants { // these are of another set than the accuracies, with which live ones would be compared
		v := &p.Variants[i]
		v.Agreement, v.Confidence, v.Predicted = nil, 0, nil
	}
	var few []string
	for _, name := range m.Bases() {
		scores := sampled(m, f, name, p.Feedback)
		if len(scores) < ProfileItemsMin {
			few = append(few, fmt.Sprintf("%s %d", name, len(scores)))
			keepAccuracy(&p, base, m, name)
			continue
		}
		accuracy := modelpkg.MeasuredScore(scores, len(m.Bases()))
		for i, v := range m.Variants {
			if v.Declared() == name {
				p.Variants[i].Accuracy, p.Variants[i].AccuracyOf, p.Variants[i].Statistics = accuracy, "", nil
			}
		}
		if p.Samples == 0 || len(scores) < p.Samples {
			p.Samples = len(scores)
		}
	}
	switch {
	case p.Samples == 0:
		return nil, slo.E(op, slo.KindInvalid, "no variant has %d labelled items that were sampled at random: %s", ProfileItemsMin, strings.Join(few, ", "))
	case len(few) > 0 && !keep:
		return nil, slo.E(op, slo.KindInvalid, "these variants have fewer than %d labelled items that were sampled at random: %s; bring more labels, or keep their accuracies of the profile %s with --keep-unlabelled",
			ProfileItemsMin, strings.Join(few, ", "), base.Device)
	}
	return &p, nil
}

// keepAccuracy marks a variant whose accuracy stays that of the existing profile.
func keepAccuracy(p, base *modelpkg.Profile, m *modelpkg.Model, name string) {
	for i, v := range m.Variants {
		if v.Declared() == name && base.Variants[i].AccuracyOf == "" {
			p.Variants[i].AccuracyOf = base.Dataset
		}
	}
}

// sampled returns the scores of a variant's sampled items, of all sizes of its inputs, and
// adds to the origin when they were answered.
func sampled(m *modelpkg.Model, f status.Feedback, name string, origin *modelpkg.FeedbackOrigin) (scores []float64) {
	for _, told := range f.Variants {
		at := slices.IndexFunc(m.Variants, func(v modelpkg.Variant) bool { return v.Name == told.Name })
		if at < 0 || m.Variants[at].Declared() != name || told.Sampled.Items == 0 {
			continue
		}
		s := told.Sampled
		if len(s.Scores) == s.Items {
			scores = append(scores, s.Scores...)
		} else {
			scores = append(scores, slices.Repeat([]float64{1}, s.Right)...)
			scores = append(scores, make([]float64, s.Items-s.Right)...)
		}
		if origin.First.IsZero() || s.First.Before(origin.First) {
			origin.First = s.First.UTC().Truncate(time.Second)
		}
		if s.Last.After(origin.Last) {
			origin.Last = s.Last.UTC().Truncate(time.Second)
		}
		origin.Items += s.Items
	}
	return scores
}

// check refuses a report, which may be a file, whose numbers are not possible.
func check(f status.Feedback) error {
	for _, v := range f.Variants {
		s := v.Sampled
		wrong := s.Items < 0 || s.Items > status.MeasuredItemsMax || s.Right < 0 || s.Right > s.Items || s.Scores != nil && len(s.Scores) != s.Items
		for _, x := range s.Scores {
			wrong = wrong || !(x >= 0 && x <= 1)
		}
		if wrong {
			return fmt.Errorf("variant %s: %d items, %d right, %d scores: this is no report of a server", v.Name, s.Items, s.Right, len(s.Scores))
		}
	}
	return nil
}
