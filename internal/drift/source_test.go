package drift

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
)

// TestCapsHold lets the mean of a variant fall, and compares its cap with the truth a while
// after the alarm: it may be above in at most boundMiss of the runs.
func TestCapsHold(t *testing.T) {
	const runs = 150
	checked := []int{0, 10, 100, 1000, 3000} // observations after the alarm
	fractional := func(rng *rand.Rand) float64 { return 0.5 + 0.5*bit(rng, 0.8) }
	whole := func(mean float64) func(*rand.Rand) float64 {
		return func(rng *rand.Rand) float64 { return bit(rng, mean) }
	}
	for _, c := range []struct {
		name  string
		truth float64
		draw  func(*rand.Rand) float64
		gap   float64 // of the cap to the truth, at the end
	}{
		{"small fall", 0.95, whole(0.95), 0.012}, {"large fall", 0.827, whole(0.827), 0.02}, {"fractional", 0.9, fractional, 0.02},
	} {
		rng := rand.New(rand.NewPCG(7, 7))
		broken, gaps := make([]int, len(checked)), make([]float64, len(checked))
		for range runs {
			s := newSource(0.98)
			for !s.lowered {
				s.observe(c.draw(rng), 0, alarmRate)
			}
			later := 0
			for i, at := range checked {
				for ; later < at; later++ {
					s.observe(c.draw(rng), 0, alarmRate)
				}
				if s.low > c.truth || !s.lowered {
					broken[i]++
				}
				gaps[i] += (c.truth - s.low) / runs
			}
		}
		t.Logf("%s: after %v observations, above the truth in %v of %d runs, %.4f below it on average", c.name, checked, broken, runs, gaps)
		for i, n := range broken {
			if float64(n) > boundMiss*runs+2*2.7 { // two standard deviations
				t.Errorf("%s, %d later: the cap is above the truth in %d of %d runs", c.name, checked[i], n, runs)
			}
		}
		if gap := gaps[len(gaps)-1]; gap > c.gap {
			t.Errorf("%s: caps are %.4f below the truth", c.name, gap)
		}
	}
}

// TestFurtherFall: a variant that is lowered falls again. The estimate must not carry the
// better time along.
func TestFurtherFall(t *testing.T) {
	rng, s := rand.New(rand.NewPCG(8, 8)), newSource(0.98)
	for range 10_000 {
		s.observe(bit(rng, 0.94), 0, alarmRate)
	}
	if !s.lowered || s.low < 0.92 {
		t.Fatalf("lowered %v to %v", s.lowered, s.low)
	}
	for range 150 {
		s.observe(bit(rng, 0.7), 0, alarmRate)
	}
	if s.alarms < 2 || s.low > 0.7 {
		t.Errorf("150 observations after a fall to 0.7: %d alarms, at least %.3f", s.alarms, s.low)
	}
}

// TestRecovery measures how long a mean that has come back takes to be restored, and that
// one which has not is not restored more often than stated.
func TestRecovery(t *testing.T) {
	const runs, promised = 60, 0.965
	for _, c := range []struct {
		truth       float64
		least, most int // of the median
	}{{0.975, 300, 1000}, {0.965, 600, 2500}} {
		rng := rand.New(rand.NewPCG(9, 9))
		var delays []int
		for range runs {
			s, n := newSource(promised), 0
			for !s.lowered {
				s.observe(0, 0, alarmRate)
			}
			for s.lowered && n < 100_000 {
				s.observe(bit(rng, c.truth), 0, alarmRate)
				n++
			}
			delays = append(delays, n)
		}
		slices.Sort(delays)
		t.Logf("%v: restored after a median of %d, 90 %% %d", c.truth, delays[runs/2], delays[runs*9/10])
		if m := delays[runs/2]; m < c.least || m > c.most {
			t.Errorf("%v: restored after a median of %d", c.truth, m)
		}
	}
	for _, truth := range []float64{promised - 0.01, promised - restoreSlack} {
		rng, restored, items := rand.New(rand.NewPCG(10, 9)), 0, 0
		for range runs {
			s := newSource(promised)
			for !s.lowered {
				s.observe(0, 0, alarmRate)
			}
			for range 2000 {
				items++
				if s.observe(bit(rng, truth), 0, alarmRate) == Restored {
					restored++
					break
				}
			}
		}
		t.Logf("%.3f: restored %d times in %d observations", truth, restored, items)
		if float64(restored) > restoreRate*float64(items) {
			t.Errorf("%.3f: restored %d times in %d observations of a mean that has not recovered", truth, restored, items)
		}
	}
}

// TestRise: a mean that had fallen rises, to what is promised or in part. The estimate must
// follow soon, without what was seen before the rise, and stay a lower bound.
func TestRise(t *testing.T) {
	const runs, promised = 150, 0.985
	checked := []int{100, 300, 1000} // observations after the rise
	for _, c := range []struct {
		before []float64 // means, for 1,000 observations each
		truth  float64
		gaps   []float64 // of the bound to the truth, at each
	}{{[]float64{0.8}, 0.985, []float64{0.2, 0.05, 0.02}}, {[]float64{0.8}, 0.93, []float64{0.2, 0.13, 0.06}}, {[]float64{0.7, 0.9}, 0.985, []float64{0.2, 0.1, 0.03}}} {
		rng := rand.New(rand.NewPCG(12, 12))
		broken, gaps := make([]int, len(checked)), make([]float64, len(checked))
		for range runs {
			s := newSource(promised)
			for _, mean := range c.before {
				for range 1000 {
					s.observe(bit(rng, mean), 0, alarmRate)
				}
			}
			later := 0
			for i, at := range checked {
				for ; later < at; later++ {
					s.observe(bit(rng, c.truth), 0, alarmRate)
				}
				low := promised
				if s.lowered {
					low = s.low
				}
				if low > c.truth {
					broken[i]++
				}
				gaps[i] += (c.truth - low) / runs
			}
		}
		t.Logf("from %v to %v: after %v observations, above the truth in %v of %d runs, %.4f below it on average", c.before, c.truth, checked, broken, runs, gaps)
		for i := range checked {
			if float64(broken[i]) > boundMiss*runs+2*2.7 { // two standard deviations
				t.Errorf("%v, %d later: the bound is above the truth in %d of %d runs", c.truth, checked[i], broken[i], runs)
			}
			if gaps[i] > c.gaps[i] {
				t.Errorf("%v, %d later: the bound is %.4f below the truth", c.truth, checked[i], gaps[i])
			}
		}
	}
}

// TestTwoSources: the lower of two estimates counts, and each recovers alone.
func TestTwoSources(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(11, 11))
	for range 3000 {
		m.Label(0, bit(rng, 0.9))
		m.Shadow(0, bit(rng, 0.85), 0.981)
	}
	s := m.State().Variants[0]
	if !s.Labels.Lowered || !s.Shadows.Lowered {
		t.Fatalf("%+v", s)
	}
	// 0.9885 - (0.99 - 0.85) = 0.8485, less than 0.9
	if s.Cap > 849000 || s.Cap < 820000 {
		t.Errorf("the cap is %v", s.Cap)
	}
	for m.State().Variants[0].Shadows.Lowered {
		m.Shadow(0, bit(rng, 0.99), 0.981)
		m.Answered(0)
	}
	if c := m.Caps(nil)[0]; c > 901000 || c < 875000 {
		t.Errorf("with labels alone the cap is %v", c)
	}
	for m.State().Variants[0].Labels.Lowered {
		m.Label(0, bit(rng, 0.9885))
	}
	if c := m.Caps(nil)[0]; c != 988500 {
		t.Errorf("the cap is %v", c)
	}
}

// TestReferenceConfidence: a fall of the reference's confidence lowers every cap, but only
// while something else proves that the data have changed.
func TestReferenceConfidence(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(12, 12))
	for range 5000 {
		m.Shadow(0, bit(rng, 0.99), 0.9)
	}
	if got := m.Caps(nil); got[0] != 988500 || got[1] != 997000 {
		t.Fatalf("confidence alone lowers caps to %v", got)
	}
	for range 5000 {
		m.Shadow(0, bit(rng, 0.825), 0.9448)
	}
	s := m.State()
	if d := s.ConfidenceDrop; d < 0.0542 || d > 0.0544 {
		t.Errorf("the drop is %v, not 1.5 times 0.0362", d)
	}
	if got := s.Variants[1].Cap; got < 942600 || got > 942800 {
		t.Errorf("the reference's cap is %v, not 0.9427", got)
	}
	if got := s.Variants[0].Cap; got > 827000-30000 || got < 740000 {
		t.Errorf("the other's cap is %v", got)
	}
	for m.State().Changed {
		m.Shadow(0, bit(rng, 0.99), 0.9)
	}
	if got := m.Caps(nil); got[0] != 988500 || got[1] != 997000 || m.State().ConfidenceDrop != 0 {
		t.Errorf("after recovery: caps %v", got)
	}
}

// TestWithoutAgreement uses the bound that follows from both accuracies.
func TestWithoutAgreement(t *testing.T) {
	spec := two()
	nan := math.NaN()
	spec.Variants[0].Agreement, spec.Variants[0].AgreementLow = nan, nan
	m, rng := New(spec), rand.New(rand.NewPCG(13, 13))
	if p := m.State().Variants[0].Shadows.Promised; p < 0.9769 || p > 0.9771 {
		t.Errorf("promised %v, not 0.983 + 0.994 - 1", p)
	}
	for range 5000 {
		m.Shadow(0, bit(rng, 0.9), nan)
	}
	if c := m.Caps(nil)[0]; c > 897000 || c < 870000 {
		t.Errorf("the cap is %v, not somewhat below 0.997 - 0.1", c)
	}
	// Labels of the reference lower what shadow runs say of the others.
	for range 5000 {
		m.Label(1, bit(rng, 0.9))
	}
	if c := m.Caps(nil); c[1] > 900000 || c[0] > 800000 {
		t.Errorf("caps %v", c)
	}
}

// TestMovedIsTold: a cap that changes by more than movedMin is told.
func TestMovedIsTold(t *testing.T) {
	m, rng := New(two()), rand.New(rand.NewPCG(14, 14))
	caps := m.Caps(nil)
	told := map[Change]int{}
	for i := range 20_000 {
		p := []float64{0.9, 0.8, 0.95, 0.99}[i/5000]
		change := m.Label(0, bit(rng, p))
		if i%3 == 0 && change == None {
			change = m.Shadow(0, bit(rng, p), 0.97)
		}
		told[change]++
		now := m.Caps(nil)
		if change == None && !slices.Equal(now, caps) {
			t.Fatalf("observation %d: caps went from %v to %v untold", i, caps, now)
		}
		caps = now
	}
	if told[Noticed] == 0 || told[Moved] < 10 || told[Moved] > 500 {
		t.Errorf("told %v", told)
	}
}

// TestRandomOrders observes in random orders, with random scores: caps stay within their
// bounds, and the same observations give the same state.
func TestRandomOrders(t *testing.T) {
	for seed := range uint64(50) {
		spec, monitors := two(), [2]*Monitor{}
		for i := range monitors {
			rng, m := rand.New(rand.NewPCG(seed, 1)), New(spec)
			p := rng.Float64()
			for range 3000 {
				x := bit(rng, p)
				switch rng.IntN(5) {
				case 0:
					x = rng.Float64()
				case 1:
					p = 1 - 0.3*rng.Float64()*rng.Float64()
				}
				if v := rng.IntN(2); rng.IntN(2) == 0 {
					m.Label(v, x)
				} else {
					m.Shadow(v, x, rng.Float64())
				}
				for v, c := range m.caps {
					if c < 0 || c > spec.Variants[v].Accuracy {
						t.Fatalf("seed %d: cap %v", seed, c)
					}
				}
			}
			monitors[i] = m
		}
		a, b := monitors[0].State(), monitors[1].State()
		if !slices.Equal(a.Variants, b.Variants) || a.ConfidenceDrop != b.ConfidenceDrop {
			t.Fatalf("seed %d: the same observations give\n%+v and\n%+v", seed, a, b)
		}
	}
}

// FuzzMonitor gives observations of any values.
func FuzzMonitor(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 255, 255, 255, 0}, 0.9, 0.98)
	f.Fuzz(func(t *testing.T, data []byte, low, confidence float64) {
		spec := two()
		if low >= 0 && low <= 1 {
			spec.Variants[0].Low = slo.Accuracy(low * 1e6)
			spec.Variants[0].AgreementLow = low
		}
		spec.Variants[0].Confidence, spec.Variants[1].Confidence = confidence, confidence
		m := New(spec)
		var caps []slo.Accuracy
		for i, b := range data {
			for range 1 + int(b)%7 {
				x := float64(b%32) / 30
				m.Label(i%4-1, x)
				m.Shadow(int(b)%3, 1-x, confidence)
				m.Confident(int(b)%3, x)
			}
			caps = m.Caps(caps)
			for v, c := range caps {
				if c < 0 || c > spec.Variants[v].Accuracy {
					t.Fatalf("cap %v of variant %d", c, v)
				}
			}
		}
		for _, v := range m.State().Variants {
			for _, s := range []SourceState{v.Labels, v.Shadows} {
				if !(0 <= s.Low && s.Low <= s.High && s.High <= 1) || s.N > 0 && !(s.Low <= s.Mean+1e-9 && s.Mean <= s.High+1e-9) || s.Evidence != s.Evidence {
					t.Fatalf("%+v", s)
				}
			}
		}
	})
}

func TestNoAllocation(t *testing.T) {
	m, i := New(two()), 0
	caps := m.Caps(nil)
	if n := testing.AllocsPerRun(20_000, func() {
		i++
		m.Label(0, float64(i%8)/7)
		m.Shadow(0, float64(i%5)/4, 0.9)
		caps = m.Caps(caps)
	}); n != 0 {
		t.Errorf("%v allocations an observation", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for name, p := range map[string]float64{"as promised": 0.99, "lowered": 0.93} {
		b.Run(name, func(b *testing.B) {
			rng, m := rand.New(rand.NewPCG(1, 1)), New(two())
			x := make([]float64, 4096)
			for i := range x {
				x[i] = bit(rng, p)
			}
			for i := 0; b.Loop(); i++ {
				m.Shadow(0, x[i%len(x)], 0.98)
			}
		})
	}
}
