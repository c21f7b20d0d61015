package cascade

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// made is a labelled set of a cheap variant that knows when it is wrong, and an expensive
// one.
func made(n int, cheap, dear float64) []Variant {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	a := Variant{Name: "cheap", Cost: 1}
	b := Variant{Name: "dear", Cost: 10}
	for range n {
		confidence := rng.Float64()
		right := func(p float64) float64 {
			if rng.Float64() < p {
				return 1
			}
			return 0
		}
		a.Confidence = append(a.Confidence, confidence)
		a.Scores = append(a.Scores, right(1-2*(1-cheap)*(1-confidence)))
		b.Scores = append(b.Scores, right(dear))
	}
	for _, v := range []*Variant{&a, &b} {
		v.Low = modelpkg.MeasuredScore(v.Scores, 4).Bounds(4)
	}
	return []Variant{a, b}
}

func TestFind(t *testing.T) {
	o := options(made(4000, 0.8, 0.95))
	c := Find(o)
	if c == nil || len(c.Points) < 3 || c.Pilot != 800 || c.Tested < len(c.Points) {
		t.Fatalf("found %+v", c)
	}
	for i, p := range c.Points {
		scores, on := 0.0, 0
		_, rest := divide(4000)
		for _, at := range rest {
			if o.Variants[0].Confidence[at] < p.Threshold {
				scores, on = scores+o.Variants[1].Scores[at], on+1
			} else {
				scores += o.Variants[0].Scores[at]
			}
		}
		if p.Name() != "cheap>dear" || p.WentOn != on || math.Abs(p.Accuracy.Mean-scores/3200) > 1e-6 || p.Accuracy.Samples != 3200 {
			t.Errorf("point %d is %+v; %d of %d go on, %v are right", i, p, on, len(rest), scores)
		}
		share := p.Share()
		if mixed := (1-share)*p.Stopped + share*p.OnThen; math.Abs(mixed-p.Accuracy.Mean) > 1e-5 {
			t.Errorf("point %d: those that stop and those that go on score %v together, not %v", i, mixed, p.Accuracy.Mean)
		}
		low := c.Low(&p)
		if !(p.WentOnLow < share && share < p.WentOnHigh) || p.Cautious >= p.Accuracy.Mean || low[slo.ConfidenceShown-1].Float() >= p.Cautious || low[6] >= low[0] {
			t.Errorf("point %d has bounds %v, %v, %v", i, p.Cautious, low, p)
		}
		if i > 0 && p.Threshold <= c.Points[i-1].Threshold {
			t.Errorf("thresholds %v and then %v", c.Points[i-1].Threshold, p.Threshold)
		}
	}
	if again := Find(o); !reflect.DeepEqual(c, again) {
		t.Error("a second search finds others")
	}
}

// TestNothingWorthOffering has cascades that are no use. The bounds of variants must not
// depend on it, so the result says that it was searched.
func TestNothingWorthOffering(t *testing.T) {
	blind := made(2000, 0.8, 0.95)
	for i := range blind[0].Confidence {
		blind[0].Confidence[i] = float64(i%7) / 7 // says nothing
	}
	same := made(2000, 0.8, 0.95)
	for i := range same[0].Confidence {
		same[0].Confidence[i] = 0.5
	}
	for name, variants := range map[string][]Variant{"blind": blind, "one confidence": same} {
		if c := Find(options(variants)); c == nil || len(c.Points) > 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestNotSearchable(t *testing.T) {
	silent := made(2000, 0.8, 0.95)
	silent[0].Confidence = nil
	for name, variants := range map[string][]Variant{"few": made(SamplesMin-1, 0.8, 0.95), "one": made(2000, 0.8, 0.95)[:1], "without confidence": silent, "none": nil} {
		if c := Find(options(variants)); c != nil {
			t.Errorf("%s: found %+v", name, c)
		}
	}
}

// TestRoutesAreBounded has room for few routes: the points that more floors need remain.
func TestRoutesAreBounded(t *testing.T) {
	o := options(made(4000, 0.8, 0.95))
	every := Find(o).Points
	for room := range 2 * len(every) {
		o.RoutesMax = room
		o.Routes = func(int, int) (point, once int) { return 1, 2 }
		if kept := Find(o).Points; len(kept) != max(0, min(len(every), room-2)) {
			t.Errorf("%d points in a room of %d routes, of %d", len(kept), room, len(every))
		}
	}
}

func TestHull(t *testing.T) {
	h := hull([]spot{{5, 0.9}, {1, 0.5}, {3, 0.6}, {2, 0.7}, {4, 0.7}, {2, 0.6}})
	if want := []spot{{1, 0.5}, {2, 0.7}, {5, 0.9}}; !slices.Equal(h, want) {
		t.Errorf("hull %v, want %v", h, want)
	}
	for floor, want := range map[float64]float64{0.4: 1, 0.5: 1, 0.6: 1.5, 0.7: 2, 0.8: 3.5, 0.95: math.Inf(1)} {
		if got := costAt(h, floor); fmt.Sprintf("%.9f", got) != fmt.Sprintf("%.9f", want) {
			t.Errorf("a floor of %v costs %v, want %v", floor, got, want)
		}
	}
}

func TestNotANumberGoesOn(t *testing.T) {
	if !GoesOn(math.NaN(), 0.5) || GoesOn(0.5, 0.5) || !GoesOn(0.4, 0.5) {
		t.Error("what goes on is wrong")
	}
}
