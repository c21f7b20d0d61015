package exits

import (
	"math/rand/v2"
	"testing"
)

// crowd draws items with a hardness in [0, 1). A model is sure of an item at the first exit
// whose reach is above the hardness. It is right if it is sure, and at the deepest loaded
// exit as often as given.
type crowd struct {
	reach []([]float64) // by model and exit
	cost  []float64     // by model: of one stage
	guess float64       // how often an unsure answer is that of the reference
	harm  []float64     // by model: how often a sure answer is not that of the reference
}

var plain = crowd{
	reach: [][]float64{{0.7, 0.97, 0.985, 0.99}, {0.9, 0.99, 0.995, 1}},
	cost:  []float64{1, 4},
	guess: 0.6,
	harm:  []float64{0.005, 0.001},
}

// draw returns what an item does on all models.
func (c crowd) draw(rng *rand.Rand) (p Probe) {
	hardness := rng.Float64()
	luck, guess := rng.Float64(), rng.Float64()
	for m, reach := range c.reach {
		t := Taken{Exit: len(reach) + 1}
		for k := range reach {
			if hardness < reach[k] {
				t.Exit = k + 1
				break
			}
		}
		for k := range reach {
			if t.Exit <= k+1 {
				t.Agrees = append(t.Agrees, luck >= c.harm[m])
			} else {
				t.Agrees = append(t.Agrees, guess < c.guess)
			}
		}
		p = append(p, t)
	}
	return p
}

// models measures the crowd on labelled samples. Here the reference is always right.
func (c crowd) models(samples int) (list []Model) {
	rng := rand.New(rand.NewPCG(1, 2))
	for m, reach := range c.reach {
		model := Model{Name: string(rune('a' + m))}
		for k := range reach {
			model.Depths = append(model.Depths, Depth{Bytes: int64(k + 1), Load: 10 * c.cost[m], Cost: c.cost[m] * float64(k+1)})
		}
		list = append(list, model)
	}
	for range samples {
		for m, t := range c.draw(rng) {
			for k := range t.Agrees {
				d := &list[m].Depths[k]
				if t.Exit <= k+1 {
					d.Sure += 1 / float64(samples)
				}
				if t.Agrees[k] {
					d.Accuracy += 1 / float64(samples)
					d.Agreement += 1 / float64(samples)
				}
			}
		}
	}
	return list
}

// run lets a policy see items, and returns its moves with the item of each.
func run(p *Policy, c crowd, items int, rng *rand.Rand) (moves []Move, at []int) {
	var recent []Probe
	for i := range items {
		probe, now := c.draw(rng), p.Loaded()
		recent = append(recent[max(0, len(recent)-49):], probe)
		if !p.Observe(probe[now.Model].Exit <= now.Depth) {
			continue
		}
		if move := p.Look(recent[max(0, len(recent)-p.Probes()):]); move.Reason != Stayed {
			moves, at = append(moves, move), append(at, i)
		}
	}
	return moves, at
}

func options(floor float64) Options {
	return Options{Models: plain.models(20000), Samples: 20000, Floor: floor, Share: ShareDefault, Every: EveryDefault}
}

func TestLoadsWhatCoversMostItems(t *testing.T) {
	for _, c := range []struct {
		floor float64
		want  Point
	}{
		{0.5, Point{0, 2}},    // the first exit has the accuracy, and covers 0.7 of the items only
		{0.97, Point{0, 2}},   // 0.97 are sure, and most of the others are right
		{0.99, Point{0, 4}},   // its last exit
		{0.9945, Point{1, 2}}, // only the expensive model
		{1, Point{1, 4}},      // no point: the most accurate
	} {
		if got := New(options(c.floor)).Loaded(); got != c.want {
			t.Errorf("floor %v: loaded %v, want %v", c.floor, got, c.want)
		}
	}
}

func TestAnswersUnsureItemsAsTheFloorAllows(t *testing.T) {
	p := New(options(0.97))
	if !p.Allows(0.97) || p.Allows(0.995) {
		t.Errorf("an unsure item is answered for the floor 0.97: %v, 0.995: %v; want true, false", p.Allows(0.97), p.Allows(0.995))
	}
}

// TestNoticesAndRestores changes the data: harder items, which a later exit can answer, and
// such that only the other model can.
func TestNoticesAndRestores(t *testing.T) {
	harder, other := plain, plain
	harder.reach = [][]float64{{0.4, 0.7, 0.99, 0.99}, {0.9, 0.99, 0.995, 1}}
	other.reach = [][]float64{{0.1, 0.2, 0.3, 0.4}, {0.9, 0.99, 0.995, 1}}
	const runs = 30
	for name, c := range map[string]struct {
		data crowd
		want Point
	}{"deeper": {harder, Point{0, 3}}, "switched": {other, Point{1, 2}}} {
		right, returned := 0, 0
		for seed := range uint64(runs) {
			p, rng := New(options(0.97)), rand.New(rand.NewPCG(seed, 3))
			run(p, plain, 1000, rng)
			moves, at := run(p, c.data, 600, rng)
			if len(moves) == 0 || at[0] > 200 {
				t.Errorf("%s, seed %d: the first move is after %v items, want at most 200", name, seed, at)
			}
			if got := p.Loaded(); got.Model == c.want.Model && got.Depth >= c.want.Depth {
				right++
			} else if got.Model < c.want.Model || got.Model == c.want.Model && got.Depth < c.want.Depth {
				t.Errorf("%s, seed %d: loaded %v, which is not enough", name, seed, got)
			}
			run(p, plain, 4000, rng)
			if p.Loaded() == (Point{0, 2}) {
				returned++
			}
		}
		// Fifty probes cannot always tell which point is the best of those that are enough.
		if t.Logf("%s: %d of %d runs load what is best, %d return", name, right, runs, returned); right < runs*8/10 || returned < runs*9/10 {
			t.Errorf("%s: %d of %d runs load what is best, and %d return to the first choice", name, right, runs, returned)
		}
	}
}

// TestDoesNotFlap checks that a policy stays where it is while the data stay as they are.
func TestDoesNotFlap(t *testing.T) {
	moved := 0
	for seed := range uint64(100) {
		p, rng := New(options(0.97)), rand.New(rand.NewPCG(seed, 4))
		moves, at := run(p, plain, 4000, rng)
		if len(moves) > 0 {
			moved++
		}
		for k := 1; k < len(at); k++ {
			if at[k]-at[k-1] < EveryDefault {
				t.Fatalf("seed %d: moves after %d and %d items", seed, at[k-1], at[k])
			}
		}
	}
	if t.Logf("%d of 100 runs moved", moved); moved > 10 {
		t.Errorf("%d of 100 runs moved although nothing had changed, want at most 10", moved)
	}
}

// TestCounterCountsBreaches checks the paper's rule: more breaches than allowed since the
// last look are an alarm.
func TestCounterCountsBreaches(t *testing.T) {
	o := options(0.97)
	o.Breaches = 3
	p := New(o)
	for i, want := range []bool{false, false, false, true} {
		if got := p.Observe(false); got != want {
			t.Errorf("breach %d: asks for a look: %v, want %v", i+1, got, want)
		}
	}
	if p.Alarms() != 1 {
		t.Errorf("%d alarms, want 1", p.Alarms())
	}
}

func TestLooksOnlyWithEnoughProbes(t *testing.T) {
	p := New(options(0.97))
	for !p.Observe(false) {
	}
	if move := p.Look(nil); move.Reason != Stayed || move.To != p.Loaded() {
		t.Errorf("a look without probes moved: %+v", move)
	}
}
