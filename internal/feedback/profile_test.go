package feedback

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
)

// reported is a report of a model with one variant of two sizes, and one of one.
func reported() (*modelpkg.Model, *modelpkg.Profile, status.Feedback) {
	m := &modelpkg.Model{Name: "m", Digest: "sha256:1", Variants: []modelpkg.Variant{
		{Name: "text@8", Base: "text"}, {Name: "text@16", Base: "text"}, {Name: "image"}}}
	was := modelpkg.MeasuredAccuracy(90, 100)
	p := &modelpkg.Profile{Device: "cpu", Dataset: "profile.npz", Samples: 100, Threads: 2, Variants: []modelpkg.VariantProfile{
		{Name: "text@8", Accuracy: was, Agreement: &modelpkg.Agreement{With: "image", Mean: 0.8}, Confidence: 0.9, Predicted: []int{1, 2}, Statistics: map[string]float64{"auc": 0.9}}, {Name: "text@16", Accuracy: was}, {Name: "image", Accuracy: was, Statistics: map[string]float64{"auc": 0.8}}}}
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return m, p, status.Feedback{Model: "m", Digest: "sha256:1", Variants: []status.VariantFeedback{
		{Name: "text@8", Sampled: status.Measured{Items: 150, Right: 120, First: day, Last: day.Add(time.Hour)}, Selected: status.Measured{Items: 5000}},
		{Name: "text@16", Sampled: status.Measured{Items: 50, Right: 20, First: day.Add(-time.Hour), Last: day}},
		{Name: "image", Sampled: status.Measured{Items: 99, Right: 99, First: day, Last: day}, Selected: status.Measured{Items: 5000}}}}
}

func TestProfile(t *testing.T) {
	m, base, f := reported()
	now := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	_, err := Profile(m, base, f, false, now)
	if slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "fewer than 100 labelled items that were sampled at random: image 99; bring more labels, or keep their accuracies of the profile cpu with --keep-unlabelled") {
		t.Errorf("a variant with few: %v", err)
	}
	p, err := Profile(m, base, f, true, now)
	if err != nil {
		t.Fatal(err)
	}
	text, image := p.Variants[0], p.Variants[2]
	if text.Accuracy.Correct != 140 || text.Accuracy.Samples != 200 || text.Accuracy.Mean != 0.7 || text.AccuracyOf != "" || text.Statistics != nil || text.Agreement != nil || text.Confidence != 0 || text.Predicted != nil ||
		!slices.Equal(p.Variants[1].Accuracy.Lower, text.Accuracy.Lower) || p.Variants[1].Accuracy.Correct != 140 {
		t.Errorf("measured: %+v", text)
	}
	if image.Accuracy.Correct != 90 || image.AccuracyOf != "profile.npz" || image.Statistics == nil {
		t.Errorf("kept: %+v", image)
	}
	if p.Dataset != modelpkg.DatasetFeedback || p.Samples != 200 || p.Threads != 2 || !p.Created.Equal(now) || p.Feedback.Items != 299 ||
		!p.Feedback.First.Equal(time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)) || !p.Feedback.Last.Equal(time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v, %+v", p, p.Feedback)
	}
	if base.Variants[0].Accuracy.Correct != 90 || base.Feedback != nil || base.Variants[2].AccuracyOf != "" {
		t.Error("the existing profile was changed")
	}
}

// TestProfileOfFractions has scores that are not 0 or 1 for one of two sizes.
func TestProfileOfFractions(t *testing.T) {
	m, base, f := reported()
	f.Variants[1].Sampled.Scores = slices.Repeat([]float64{0.5}, 50)
	f.Variants[1].Sampled.Right = 0
	p, err := Profile(m, base, f, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Variants[0].Accuracy; math.Abs(a.Mean-(120+25)/200.0) > 1e-9 || a.Interval != "betting" || len(a.Lower) != slo.ConfidenceLevels {
		t.Errorf("%+v", a)
	}
}

func TestProfileRefuses(t *testing.T) {
	for want, change := range map[string]func(f *status.Feedback){
		"the labels are of m with the digest sha256:2": func(f *status.Feedback) { f.Digest = "sha256:2" },
		"no variant has 100 labelled items that were sampled at random: text 0, image 0": func(f *status.Feedback) {
			for i := range f.Variants {
				f.Variants[i].Sampled = status.Measured{}
			}
		},
		"this is no report of a server":  func(f *status.Feedback) { f.Variants[0].Sampled.Right = 151 },
		"150 items, 120 right, 1 scores": func(f *status.Feedback) { f.Variants[0].Sampled.Scores = []float64{1} },
		"99 items, 99 right, 99 scores":  func(f *status.Feedback) { f.Variants[2].Sampled.Scores = slices.Repeat([]float64{2}, 99) },
	} {
		m, base, f := reported()
		change(&f)
		if _, err := Profile(m, base, f, true, time.Now()); err == nil || slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
