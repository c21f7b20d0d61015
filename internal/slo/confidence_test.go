package slo

import "testing"

func TestConfidenceOf(t *testing.T) {
	for x, want := range map[float64]float64{1e-9: 0.8, 0.8: 0.8, 0.81: 0.9, 0.95: 0.95, 0.9500001: 0.975, 0.999: 0.999} {
		c, err := ConfidenceOf(x)
		if err != nil || c.Float() != want {
			t.Errorf("%v: level %v, %v; want %v", x, c.Float(), err, want)
		}
	}
	for _, x := range []float64{0, -1, 0.9991, 1, 95} {
		if c, err := ConfidenceOf(x); err == nil {
			t.Errorf("%v: level %v", x, c.Float())
		}
	}
	if ConfidenceShown.Float() != 0.95 || Confidence(0).Float() != 0 {
		t.Error("the level that is shown is 0.95, and that of expected accuracies 0")
	}
}
