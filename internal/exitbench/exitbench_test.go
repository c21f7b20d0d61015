package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/mosel-serve/mosel/internal/exits"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// made returns answers of chains of two exits: at the first, an item is right if it is
// sure, and as often as given if not; the last exit is right.
func made(chains, n int, sure, guess float64, rng *rand.Rand) (a answers) {
	a.items = make([]runtime.Item, n)
	for range chains {
		first, last := make([]int, n), make([]int, n)
		confidence, certain := make([]float64, n), make([]float64, n)
		right, always := make([]bool, n), make([]bool, n)
		for i := range n {
			confidence[i] = 0.5 * rng.Float64()
			if right[i] = rng.Float64() < guess; rng.Float64() < sure {
				confidence[i], right[i] = 0.9997, true
			}
			if certain[i], always[i] = 0.9997, true; !right[i] {
				first[i] = 1
			}
		}
		a.class, a.confidence, a.right = append(a.class, first, last), append(a.confidence, confidence, certain), append(a.right, right, always)
	}
	return a
}

var two = chain{name: "a", variants: []int{0, 1}, threshold: 0.9}

func TestAnItemLeavesWhereItIsSure(t *testing.T) {
	a := answers{confidence: [][]float64{{0.95, 0.5, 0.5}, {0.2, 0.9, 0.8}}}
	for sample, want := range []int{1, 2, 3} {
		if got := a.exit(two, sample); got != want {
			t.Errorf("sample %d leaves at %d, want %d", sample, got, want)
		}
	}
	if got := a.answeredBy(two, 2, 2); got != 1 {
		t.Errorf("an item that is never sure is answered by %d, want the last exit", got)
	}
	if got := a.answeredBy(two, 1, 1); got != 0 {
		t.Errorf("with one stage loaded, an unsure item is answered by %d, want 0", got)
	}
}

// TestCertifiedThresholdLosesLittle chooses thresholds on many sets and looks at the loss
// on all data.
func TestCertifiedThresholdLosesLittle(t *testing.T) {
	broken, early := 0, 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		// Unsure items, half of which are wrong, have a confidence below 0.5. So a threshold
		// of 0.4 loses 0.1 * 0.2 * 0.5 = 1 point.
		a := made(1, 2000, 0.9, 0.5, rng)
		switch threshold := certified(&a, two); {
		case threshold < 0.5:
			broken++
		case threshold < 0.9:
			early++
		}
	}
	if broken > 10 {
		t.Errorf("%d of 200 thresholds lose more than is certified, want at most 10", broken)
	}
	if early < 150 {
		t.Errorf("%d of 200 thresholds are low although nothing is lost by them", early)
	}
}

func TestVariantsAreChains(t *testing.T) {
	m := &modelpkg.Model{}
	for _, name := range []string{"image_text_1", "image_text_2", "all_1"} {
		m.Variants = append(m.Variants, modelpkg.Variant{Name: name})
	}
	got := chainsOf(m)
	if len(got) != 2 || got[0].name != "image_text" || len(got[0].variants) != 2 || got[1].name != "all" || got[1].variants[0] != 2 {
		t.Errorf("chains %+v", got)
	}
}

func TestSectionIsReplaced(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n<!-- begin exits -->\nold\n<!-- end exits -->\nafter\n")
	if err := put(page, "exits", "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(page); string(got) != "before\n<!-- begin exits -->\n\nnew\n\n<!-- end exits -->\nafter\n" {
		t.Errorf("page:\n%s", got)
	}
	write("no markers")
	if err := put(page, "exits", "new"); err == nil {
		t.Error("a page without the markers was written")
	}
}

// TestSimulationNoticesDrift simulates a change to data of which the first model knows
// little.
func TestSimulationNoticesDrift(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	models := []exits.Model{
		{Name: "a", Depths: []exits.Depth{{Load: 1, Cost: 1, Bytes: 1, Sure: 0.97, Accuracy: 0.985, Agreement: 0.985}, {Load: 1, Cost: 2, Bytes: 2, Sure: 1, Accuracy: 1, Agreement: 1}}},
		{Name: "b", Depths: []exits.Depth{{Load: 4, Cost: 8, Bytes: 8, Sure: 0.97, Accuracy: 0.985, Agreement: 0.985}, {Load: 4, Cost: 16, Bytes: 16, Sure: 1, Accuracy: 1, Agreement: 1}}},
	}
	b := &bench{chains: []chain{two, {name: "b", variants: []int{2, 3}, threshold: 0.9}}}
	b.profile = made(2, 2000, 0.97, 0.5, rng)
	b.heldout = made(2, 2000, 0.97, 0.5, rng)
	drifted := made(2, 2000, 0.4, 0.5, rng)
	got := b.simulate(models, &drifted, 3, way{}, 1)
	if got.noticed < 1 || got.noticed > 150 {
		t.Errorf("the change was noticed after %d items, want at most 150", got.noticed)
	}
	if fixed := b.simulate(models, &drifted, 3, way{fixed: true}, 1); fixed.moves != [3]int{} || fixed.right[1] >= got.right[1] {
		t.Errorf("without a policy %d of %d are right, with one %d", fixed.right[1], fixed.items[1], got.right[1])
	}
	if got.moves[1] == 0 {
		t.Errorf("nothing was loaded: %+v", got)
	}
	if got.items != [3]int{driftFrom, driftFrom, driftFrom} {
		t.Errorf("items by phase %v", got.items)
	}
}
