package modelpkg

import "testing"

func TestReference(t *testing.T) {
	variant := func(name string, mean, ms float64, with string) VariantProfile {
		v := VariantProfile{Name: name, Accuracy: AccuracyMean{Mean: mean}, Batches: []BatchProfile{{Items: 1, P50MS: 2 * ms}, {Items: 2, P50MS: 2 * ms}}}
		if with != "" {
			v.Agreement = &Agreement{With: with}
		}
		return v
	}
	for _, c := range []struct {
		name     string
		variants []VariantProfile
		want     int
	}{
		{"the most accurate", []VariantProfile{variant("a", 0.9, 1, ""), variant("b", 0.95, 2, ""), variant("c", 0.94, 1, "")}, 1},
		{"the cheapest of equals", []VariantProfile{variant("a", 0.9, 3, ""), variant("b", 0.9, 1, ""), variant("c", 0.9, 2, ""), variant("d", 0.8, 0.5, "")}, 1},
		{"the first of the same", []VariantProfile{variant("a", 0.9, 1, ""), variant("b", 0.9, 1, "")}, 0},
		{"that of the agreements", []VariantProfile{variant("a", 0.9, 3, "a"), variant("b", 0.9, 1, "a")}, 0},
		{"a size of that of the agreements", []VariantProfile{variant("a@8", 0.8, 1, "b"), variant("a@16", 0.9, 1, "b"), variant("b@8", 0.9, 3, "b"), variant("b@16", 0.9, 3, "b")}, 2},
		{"agreements with what is gone", []VariantProfile{variant("a", 0.9, 3, "c"), variant("b", 0.9, 1, "c")}, 1},
	} {
		p := &Profile{Variants: c.variants}
		if got := p.Reference(); got != c.want {
			t.Errorf("%s: variant %d, want %d", c.name, got, c.want)
		}
	}
}
