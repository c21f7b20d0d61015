package drift

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// digits is what a profile of 2,000 samples says, with ten classes that are equally often.
func digits() Usual {
	return Usual{
		Classes: []string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"},
		Variants: []UsualAnswers{
			{Name: "image_text", Confidence: 0.9714, Predicted: []int{201, 200, 199, 195, 199, 202, 202, 199, 197, 206}, Primaries: []int{600, 1400}},
			{Name: "all", Confidence: 0.981, Predicted: []int{200, 200, 199, 200, 200, 199, 202, 200, 200, 200}},
		},
		Modalities: []UsualPresence{{Name: "image"}, {Name: "text", Absent: 0.02}},
		Inputs:     []UsualInput{{Name: "image", Level: 33.4, Deviation: 11.5, Blank: 0.001}},
		Samples:    2000,
	}
}

func texts(hints []Hint) (list []string) {
	for _, h := range hints {
		list = append(list, h.Text)
	}
	return list
}

// usually observes an item that is as in the profile.
func usually(rng *rand.Rand, h *Hints) {
	for v, u := range h.usual.Variants {
		h.Answer(v, rng.IntN(10), min(1, u.Confidence+0.02*rng.NormFloat64()*bit(rng, 0.5)))
		h.Primary(v, int(bit(rng, 0.7)))
	}
	present := slo.Modalities(3)
	if rng.Float64() < 0.02 {
		present = 1
	}
	h.Item(present)
	h.Input(0, 33.4+11.5*rng.NormFloat64(), rng.Float64() < 0.001)
}

// TestNoHints observes what is usual, at any time.
func TestNoHints(t *testing.T) {
	for seed := range uint64(30) {
		rng, h := rand.New(rand.NewPCG(seed, 3)), NewHints(digits())
		for i := range 10_000 {
			usually(rng, h)
			if i%97 == 0 {
				if got := texts(h.State()); got != nil {
					t.Fatalf("seed %d, item %d: %q", seed, i, got)
				}
			}
		}
	}
}

// TestHints observes a change of each kind, and what was before is forgotten.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		name    string
		observe func(rng *rand.Rand, h *Hints)
		want    string
		kind    HintKind
	}{
		{"predictions", func(rng *rand.Rand, h *Hints) {
			class := rng.IntN(10)
			if rng.Float64() < 0.25 {
				class = 3
			}
			h.Answer(0, class, math.NaN())
		}, `predictions: class "three" is 32 % of the answers of image_text, 9.8 % in the profile`, HintPredictions},
		{"confidence", func(rng *rand.Rand, h *Hints) { h.Answer(1, rng.IntN(10), 0.8896+0.11*rng.Float64()) },
			"confidence: answers of all are 94.4 % sure on average, 98.1 % in the profile", HintConfidence},
		{"primaries", func(rng *rand.Rand, h *Hints) { h.Primary(0, int(bit(rng, 0.96))) },
			"primaries: image decides 3.7 % of the answers of image_text, 30 % in the profile", HintPrimaries},
		{"inputs", func(rng *rand.Rand, h *Hints) { h.Item(slo.Modalities(1 + 2*int(bit(rng, 0.7)))) },
			"inputs: text is absent in 29 % of items, 2.0 % in the profile", HintInputs},
		{"levels", func(rng *rand.Rand, h *Hints) { h.Input(0, 221.6+11.5*rng.NormFloat64(), false) },
			"inputs: the mean level of image is 221, 33.4 in the profile", HintLevels},
		{"blanks", func(rng *rand.Rand, h *Hints) { h.Input(0, 33.4+11.5*rng.NormFloat64(), rng.Float64() < 0.1) },
			"inputs: image is blank in 11 % of the items that have it, 0.1 % in the profile", HintBlanks},
	} {
		rng, h := rand.New(rand.NewPCG(5, 5)), NewHints(digits())
		for range 5000 {
			usually(rng, h)
		}
		for range 2000 {
			c.observe(rng, h)
		}
		got := h.State()
		if len(got) != 1 || got[0].Text != c.want || got[0].Kind != c.kind || got[0].Items < hintItems || got[0].Items > 2*hintItems {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
		for range 2000 {
			usually(rng, h)
		}
		if got := texts(h.State()); got != nil {
			t.Errorf("%s: it is over, and still %q", c.name, got)
		}
	}
}

// TestFewItemsGiveNoHints: the first items say nothing.
func TestFewItemsGiveNoHints(t *testing.T) {
	h := NewHints(digits())
	for range hintItemsMin - 1 {
		h.Answer(0, 3, 0.2)
		h.Item(0)
	}
	if got := texts(h.State()); got != nil {
		t.Errorf("%q", got)
	}
	h.Answer(0, 3, 0.2)
	h.Item(0)
	if got := h.State(); len(got) != 4 { // two modalities, predictions, confidence
		t.Errorf("%+v", got)
	}
}

// TestNothingToCompare: without a profile's figures there are no hints, and answers that
// fit nothing are ignored.
func TestNothingToCompare(t *testing.T) {
	h := NewHints(Usual{Variants: []UsualAnswers{{Name: "v", Confidence: math.NaN()}}, Samples: 100})
	for range 1000 {
		h.Answer(0, 1, 0.5)
		h.Answer(-1, 1, 0.5)
		h.Answer(1, 1, 0.5)
		h.Answer(0, -1, math.NaN())
		h.Item(1)
	}
	if got := h.State(); got != nil {
		t.Errorf("%+v", got)
	}
}

func TestChiSquare(t *testing.T) {
	// The quantile of chi-square with 9 degrees of freedom at 5 standard errors of a normal
	// distribution, 1 - 2.87e-7, is 47.73.
	if chiSquareExceeds(46, 9) || !chiSquareExceeds(49.5, 9) || chiSquareExceeds(100, 0) {
		t.Error("chiSquareExceeds is far from the quantile")
	}
}

func TestHintsDoNotAllocate(t *testing.T) {
	rng, h := rand.New(rand.NewPCG(6, 6)), NewHints(digits())
	if n := testing.AllocsPerRun(5000, func() { usually(rng, h) }); n != 0 {
		t.Errorf("%v allocations an item", n)
	}
}

func BenchmarkHints(b *testing.B) {
	h := NewHints(digits())
	for i := 0; b.Loop(); i++ {
		h.Answer(i%2, i%10, 0.9)
		h.Item(3)
	}
}
