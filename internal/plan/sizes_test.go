package plan_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// TestSizes plans with a variant for each of two buckets of an input, one for each pair of
// buckets of two inputs, and one that reads neither.
func TestSizes(t *testing.T) {
	item := func(a, b int) slo.Sizes { return slo.Sizes(0).With(0, a).With(1, b) }
	var variants []plan.Variant
	add := func(name string, modalities slo.Modalities, sizes slo.Sizes, ms int) {
		curve, err := plan.NewCurve([]plan.Point{{Items: 1, Time: time.Duration(ms) * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		variants = append(variants, plan.Variant{Name: name, Modalities: modalities, Sizes: sizes, Accuracy: 900_000, Curve: curve})
	}
	add("other", 4, 0, 5)
	add("text@4", 1, item(0, -1), 1)
	add("text@16", 1, item(1, -1), 9)
	add("both@4@8", 3, item(0, 0), 2)
	add("both@4@32", 3, item(0, 1), 20)
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		carried slo.Carried
		want    plan.Set
	}{
		{slo.Carried{Present: 7, Sizes: item(0, 0)}, 0b01011},
		{slo.Carried{Present: 7, Sizes: item(0, 1)}, 0b10011},
		{slo.Carried{Present: 7, Sizes: item(1, 1)}, 0b00101},
		{slo.Carried{Present: 1, Sizes: item(1, -1)}, 0b00100},
		{slo.Carried{Present: 4}, 0b00001},
		{slo.Carried{Present: 7, Choice: 3, Sizes: item(0, 1)}, 0b10000},
	} {
		if got := p.Runnable(c.carried); got != c.want {
			t.Errorf("%+v may run on %b, want %b", c.carried, got, c.want)
		}
	}
	if got := p.LargestSizes(); got != item(1, 1) {
		t.Errorf("the largest sizes are %x", got)
	}
	for v, want := range []slo.Sizes{item(1, 1), item(0, 1), item(1, 1), item(0, 0), item(0, 1)} {
		if got := p.SizesOf(v); got != want || !p.Runnable(slo.Carried{Present: 7, Sizes: got}).Has(v) {
			t.Errorf("%s is for items of %x, want %x", variants[v].Name, got, want)
		}
	}
	// What is planned for an item costs what its bucket costs.
	for sizes, want := range map[slo.Sizes]string{item(0, 0): "text@4", item(1, 0): "other"} {
		frontier := p.Frontier(p.Runnable(slo.Carried{Present: 7, Sizes: sizes}))
		if len(frontier) != 1 || variants[frontier[0].Route].Name != want {
			t.Errorf("the frontier of %x is %+v, want %s", sizes, frontier, want)
		}
	}
}
