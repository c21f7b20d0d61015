package profiler

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/mosel-serve/mosel/internal/modelpkg"
)

// checkAnswers checks what a profile of 100 samples of the double says of its answers.
func checkAnswers(t *testing.T, half, full modelpkg.VariantProfile) {
	t.Helper()
	for _, c := range []struct {
		v         modelpkg.VariantProfile
		mean, low float64 // low is the exact bound at 1 - 0.05/2
		predicted []int
	}{
		// Sample i has the label i%3, and half takes the next class for odd i.
		{half, 0.5, 0.39832, []int{33, 33, 34}}, {full, 1, math.Pow(0.025, 0.01), []int{34, 33, 33}},
	} {
		if a := c.v.Agreement; a == nil || a.With != "full" || a.Mean != c.mean || math.Abs(a.Low-c.low) > 1e-5 {
			t.Errorf("%s: agreement %+v, want %v, at least %v", c.v.Name, a, c.mean, c.low)
		}
		if c.v.Confidence != 0.8 || !slices.Equal(c.v.Predicted, c.predicted) {
			t.Errorf("%s: confidence %v, predicted %v", c.v.Name, c.v.Confidence, c.v.Predicted)
		}
	}
}

// TestScoresThatAreNoProbabilities have no confidence to compare with.
func TestScoresThatAreNoProbabilities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, set := testModel(t, 30)
		d := newDouble()
		d.score = 3
		got, err := Run(t.Context(), d.open, m, set, options())
		if err != nil {
			t.Fatal(err)
		}
		if v := got.Profile.Variants[1]; v.Confidence != 0 || v.Agreement == nil {
			t.Errorf("confidence %v, agreement %v", v.Confidence, v.Agreement)
		}
	})
}
