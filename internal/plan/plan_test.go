package plan_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// randomPlanner draws k variants whose accuracy tends to grow with cost. Their batch
// curves are neither convex nor concave; sometimes two variants are equal.
func randomPlanner(t testing.TB, rng *rand.Rand, k int) *plan.Planner {
	variants := make([]plan.Variant, k)
	for i := range variants {
		maxBatch := 1 + rng.IntN(6)
		base, each := rng.IntN(2000), 1+rng.IntN(1000*(i+1))
		points := make([]plan.Point, maxBatch)
		for b := 1; b <= maxBatch; b++ {
			points[b-1] = plan.Point{Items: b, Time: time.Duration(1 + base + b*each + rng.IntN(300))}
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		acc := slo.Accuracy(500_000 + 60_000*i + rng.IntN(100_000))
		variants[i] = plan.Variant{Name: fmt.Sprint("v", i), Modalities: 1, Accuracy: acc, Curve: curve}
		if i > 0 && rng.IntN(8) == 0 {
			variants[i] = variants[i-1]
		}
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// slowTime returns the least time for x items by trying every first batch.
func slowTime(c plan.Curve, x int) time.Duration {
	best := make([]time.Duration, x+1)
	for i := 1; i <= x; i++ {
		best[i] = math.MaxInt64
		for b := 1; b <= min(i, c.Max()); b++ {
			best[i] = min(best[i], c.Batch(b)+best[i-b])
		}
	}
	return best[x]
}

// bruteForce enumerates every count vector.
func bruteForce(p *plan.Planner, n int, target slo.Score, allowed plan.Set) (best time.Duration, feasible bool) {
	best = math.MaxInt64
	var walk func(v, left int, spent time.Duration, score slo.Score)
	walk = func(v, left int, spent time.Duration, score slo.Score) {
		if v == len(p.Variants()) {
			if left == 0 && score >= target && spent < best {
				best, feasible = spent, true
			}
			return
		}
		end := left
		if !allowed.Has(v) {
			end = 0
		}
		for x := 0; x <= end; x++ {
			variant := p.Variants()[v]
			walk(v+1, left-x, spent+slowTime(variant.Curve, x), score+variant.Accuracy.Times(x))
		}
	}
	walk(0, n, 0, 0)
	return best, feasible
}

func TestCheapestEqualsBruteForce(t *testing.T) {
	cases := 1200
	if testing.Short() {
		cases = 200
	}
	for seed := range cases {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		k := 2 + rng.IntN(6)
		p := randomPlanner(t, rng, k)
		n := 1 + rng.IntN([]int{0, 0, 12, 12, 12, 9, 7, 6}[k])
		allowed := p.All() &^ plan.Set(rng.Uint64()&rng.Uint64())
		target := slo.Accuracy(450_000 + rng.IntN(550_000)).Times(n)
		want, feasible := bruteForce(p, n, target, allowed)
		got, ok := p.Cheapest(n, target, allowed)
		if ok != feasible {
			t.Fatalf("seed %d: feasible = %v, brute force says %v", seed, ok, feasible)
		}
		if !ok {
			continue
		}
		checkStrategy(t, p, got, n, target, allowed)
		if got.Time != want || !got.Exact {
			t.Fatalf("seed %d: k=%d n=%d: time %d (exact %v), brute force %d", seed, k, n, got.Time, got.Exact, want)
		}
	}
}

// checkStrategy verifies the figures of a strategy.
func checkStrategy(t *testing.T, p *plan.Planner, s plan.Strategy, n int, target slo.Score, allowed plan.Set) {
	t.Helper()
	var score slo.Score
	var spent time.Duration
	for v, x := range s.Items {
		if x < 0 || (x > 0 && !allowed.Has(v)) {
			t.Fatalf("strategy %v gives %d items to variant %d (allowed %b)", s.Items, x, v, allowed)
		}
		score += p.Variants()[v].Accuracy.Times(x)
		spent += p.Variants()[v].Curve.Time(x)
	}
	if s.Size() != n || score != s.Score || spent != s.Time || score < target {
		t.Fatalf("strategy %+v: size %d want %d, score %d (target %d), time %v", s, s.Size(), n, score, target, spent)
	}
}

func TestCurveTimeEqualsDynamicProgramme(t *testing.T) {
	for seed := range 200 {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		p := randomPlanner(t, rng, 2)
		for _, v := range p.Variants() {
			for _, x := range []int{0, 1, 2, 5, 17, 36, 37, 100, 321} {
				if got, want := v.Curve.Time(x), slowTime(v.Curve, x); got != want {
					t.Fatalf("seed %d: Time(%d) = %d, want %d", seed, x, got, want)
				}
			}
		}
	}
}

// TestFirstBatchesTakeTheLeastTime checks that running the first batch again and again
// takes the least time, and that many items begin with the best size.
func TestFirstBatchesTakeTheLeastTime(t *testing.T) {
	for seed := range 200 {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		for _, v := range randomPlanner(t, rng, 2).Variants() {
			for _, c := range []plan.Curve{v.Curve, v.Curve.UpTo(1 + rng.IntN(v.Curve.Max()))} {
				for x := 1; x < 400; x++ {
					spent := time.Duration(0)
					for left := x; left > 0; left -= c.First(left) {
						spent += c.Batch(c.First(left))
					}
					if spent != c.Time(x) {
						t.Fatalf("seed %d: %d items take %d in first batches, %d at least", seed, x, spent, c.Time(x))
					}
				}
				if x := c.BestBatch() * c.Max(); c.First(x) != c.BestBatch() || c.First(2*c.BestBatch()) != c.BestBatch() {
					t.Fatalf("seed %d: %d items begin with a batch of %d, the best has %d", seed, x, c.First(x), c.BestBatch())
				}
			}
		}
	}
}

func TestLargeJobIsNearTheFluidBound(t *testing.T) {
	for seed := range 50 {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		p := randomPlanner(t, rng, 7)
		n := 10_000
		target := slo.Accuracy(600_000 + rng.IntN(200_000)).Times(n)
		s, ok := p.Cheapest(n, target, p.All())
		if !ok {
			continue
		}
		checkStrategy(t, p, s, n, target, p.All())
		if !s.Exact {
			t.Errorf("seed %d: the search for %d items was cut short", seed, n)
		}
	}
}

func TestBestEqualsSearchOverTargets(t *testing.T) {
	for seed := range 100 {
		rng := rand.New(rand.NewPCG(uint64(seed), 4))
		p := randomPlanner(t, rng, 3)
		n := 1 + rng.IntN(8)
		cheap, _ := p.Cheapest(n, 0, p.All())
		budget := cheap.Time + time.Duration(rng.IntN(3000*n))
		got, ok := p.Best(n, budget, p.All())
		if !ok || got.Time > budget {
			t.Fatalf("seed %d: %+v takes longer than %v", seed, got, budget)
		}
		if want, feasible := bruteForce(p, n, got.Score+1, p.All()); feasible && want <= budget {
			t.Fatalf("seed %d: score %d is possible in %v, got %d", seed, got.Score+1, want, got.Score)
		}
	}
	p := randomPlanner(t, rand.New(rand.NewPCG(9, 9)), 3)
	if _, ok := p.Best(4, 1, p.All()); ok {
		t.Error("a strategy within one nanosecond")
	}
}

// digits returns a planner with a profile similar to that of the shipped model.
func digits(t testing.TB, k int) *plan.Planner {
	t.Helper()
	rows := []struct {
		acc      slo.Accuracy
		base, ms float64
		mods     slo.Modalities
	}{
		{820_000, .12, .28, 1}, {940_000, .12, .45, 2}, {978_000, .14, .7, 3}, {960_000, .3, 4.2, 4},
		{984_000, .3, 4.5, 5}, {989_000, .3, 4.8, 6}, {994_000, .3, 5.1, 7},
	}
	pick := rows
	if k == 3 {
		pick = []struct {
			acc      slo.Accuracy
			base, ms float64
			mods     slo.Modalities
		}{rows[0], rows[2], rows[6]}
	}
	variants := make([]plan.Variant, len(pick))
	for i, r := range pick {
		var points []plan.Point
		for b := 1; b <= 32; b *= 2 {
			points = append(points, plan.Point{Items: b, Time: time.Duration((r.base + r.ms*float64(b)) * 1e6)})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		variants[i] = plan.Variant{Name: fmt.Sprint("v", i), Modalities: r.mods, Accuracy: r.acc, Curve: curve}
	}
	p, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFrontierAndAgnostic(t *testing.T) {
	p := digits(t, 7)
	var names []string
	for _, f := range p.Frontier(p.All()) {
		names = append(names, fmt.Sprintf("%s %v", p.Variants()[f.Route].Name, f.Hull))
	}
	want := "[v0 true v1 true v2 true v4 false v5 false v6 true]"
	if fmt.Sprint(names) != want {
		t.Errorf("frontier %v, want %s", names, want)
	}
	if v := p.Agnostic(p.All()); v != 6 {
		t.Errorf("all modalities run variant %d, want 6", v)
	}
	if v := p.Agnostic(p.Runnable(slo.Carried{Present: 3})); v != 2 {
		t.Errorf("without the third modality variant %d runs, want 2", v)
	}
	if s := p.Runnable(slo.Carried{Present: 7, Choice: 3}); s != 1<<2 {
		t.Errorf("the choice of modalities 3 allows %b", s)
	}
	if v := p.Agnostic(0); v != -1 {
		t.Errorf("Agnostic of nothing is %d", v)
	}
}

func TestMatrixRowsAreMonotone(t *testing.T) {
	p := digits(t, 7)
	m := p.Matrix(32, p.All())
	if len(m.Sizes) != 32 || len(m.Targets) != plan.MatrixTargets {
		t.Fatalf("matrix of %d x %d", len(m.Sizes), len(m.Targets))
	}
	for i, row := range m.Cells {
		for j, cell := range row {
			if !cell.Feasible || cell.Strategy.Accuracy() < m.Targets[j] {
				t.Fatalf("size %d target %v: %+v", m.Sizes[i], m.Targets[j], cell)
			}
			if j > 0 && cell.Strategy.Time < row[j-1].Strategy.Time {
				t.Errorf("size %d: a higher target %v costs less", m.Sizes[i], m.Targets[j])
			}
		}
	}
}

func TestNewCurveRefusesNonsense(t *testing.T) {
	bad := [][]plan.Point{
		nil,
		{{2, 5}},
		{{1, 0}},
		{{1, 5}, {1, 6}},
		{{1, 5}, {4, 9}, {2, 7}},
		{{1, 5}, {100_000, 9}},
	}
	for _, points := range bad {
		if _, err := plan.NewCurve(points); err == nil {
			t.Errorf("NewCurve(%v) succeeded", points)
		}
	}
}

func BenchmarkCheapest(b *testing.B) {
	for _, k := range []int{3, 7} {
		for _, n := range []int{1, 32, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("variants=%d/items=%d", k, n), func(b *testing.B) {
				p := digits(b, k)
				target := slo.Accuracy(981_230).Times(n)
				b.ReportAllocs()
				for b.Loop() {
					if s, ok := p.Cheapest(n, target, p.All()); !ok || !s.Exact {
						b.Fatal("no exact strategy")
					}
				}
			})
		}
	}
}

func TestFromProfileKeepsTheMemoryLimit(t *testing.T) {
	m := &modelpkg.Model{Name: "m", Variants: []modelpkg.Variant{{Name: "v", Modalities: 1}}, Limits: modelpkg.Limits{BatchItemsMax: 4, MemoryBytes: 100}}
	p := &modelpkg.Profile{Variants: []modelpkg.VariantProfile{{Name: "v", Accuracy: modelpkg.AccuracyMean{Mean: 0.9}, Batches: []modelpkg.BatchProfile{
		{Items: 1, P50MS: 1, MemoryBytes: 40}, {Items: 2, P50MS: 2, MemoryBytes: 100}, {Items: 4, P50MS: 3, MemoryBytes: 101},
	}}}}
	planner, err := plan.FromProfile(m, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := planner.Variants()[0].Curve.Max(); got != 2 {
		t.Errorf("batches of up to %d, want 2", got)
	}
	m.Limits.MemoryBytes = 39
	if _, err := plan.FromProfile(m, p); slo.KindOf(err) != slo.KindInvalid {
		t.Errorf("one item is too much: %v", err)
	}
}
