package workload

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestShapesKeepTheMean(t *testing.T) {
	const rate, length = 37.0, 90 * time.Second
	for name, steps := range map[string][]Step{
		"steady":  Steady(5, length),
		"seconds": Seconds(Traffic(300, 10, 1), length),
		"diurnal": Diurnal(length, 20*time.Second, 0.7),
		"bursts":  Bursts{Ratio: 4, Calm: 3 * time.Second, Burst: time.Second}.Steps(length, 9),
	} {
		seconds := 0.0
		for _, s := range steps {
			seconds += s.Seconds
		}
		if math.Abs(seconds-length.Seconds()) > 1e-6 {
			t.Errorf("%s lasts %v s", name, seconds)
		}
		if items := Items(Mean(steps, rate)); math.Abs(items-rate*length.Seconds()) > 1e-6 {
			t.Errorf("%s has %v items, want %v", name, items, rate*length.Seconds())
		}
	}
}

func TestDiurnalHasNightAndNoon(t *testing.T) {
	steps := Diurnal(20*time.Second, 20*time.Second, 0.7)
	if night, noon := steps[0].Rate, steps[len(steps)/2].Rate; math.Abs(night-0.3) > 0.01 || math.Abs(noon-1.7) > 0.01 {
		t.Errorf("from %v to %v, want 0.3 to 1.7", night, noon)
	}
}

func TestBurstsSwitch(t *testing.T) {
	b := Bursts{Ratio: 5, Calm: 8 * time.Second, Burst: 2 * time.Second}
	steps := b.Steps(10_000*time.Second, 3)
	busy := 0.0
	for i, s := range steps {
		if want := []float64{1, 5}[i%2]; s.Rate != want {
			t.Fatalf("step %d has rate %v", i, s.Rate)
		}
		if s.Rate > 1 {
			busy += s.Seconds
		}
	}
	if share := busy / 10_000; share < 0.17 || share > 0.23 {
		t.Errorf("%.2f of the time is burst, want 0.2", share)
	}
	if !slices.Equal(steps, b.Steps(10_000*time.Second, 3)) {
		t.Error("the same seed gives another course")
	}
}

func TestSizes(t *testing.T) {
	for _, text := range []string{"7", "uniform:2:9", "log:1:1000", "paper"} {
		s, err := ParseSizes(text)
		if err != nil || s.String() != text {
			t.Errorf("%q is read as %v, %v", text, s, err)
		}
		load := Load{Sizes: s, Seed: 4}
		draw := sizer{sizes: s, rng: load.Stream(sizeStream)}
		sum, n := 0.0, 20_000
		for range n {
			size := draw.next(100)
			if s.Law != SizesPaper && (size < s.Low || size > s.High) {
				t.Fatalf("%v draws %d", s, size)
			}
			sum += float64(size)
		}
		if mean := sum / float64(n); math.Abs(mean-s.Mean()) > 0.1*s.Mean() {
			t.Errorf("%v has mean %.2f, said to be %.2f", s, mean, s.Mean())
		}
	}
	for _, text := range []string{"", "0", "-1", "uniform:3", "uniform:9:2", "log:0:5", "zipf:1:2", "uniform:1:x", "1000000"} {
		if s, err := ParseSizes(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	good := Load{Process: Poisson, Rate: Steady(10, time.Second), Sizes: FixedSize(1)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Load){
		"process":  func(l *Load) { l.Process = "x" },
		"sizes":    func(l *Load) { l.Sizes = Sizes{} },
		"paper":    func(l *Load) { l.Process = Paper },
		"floor":    func(l *Load) { l.Floors = Fixed(math.NaN()) },
		"deadline": func(l *Load) { l.Deadlines = Fixed(-1) },
		"rate":     func(l *Load) { l.Rate = Steady(2*RateMax, time.Second) },
		"length":   func(l *Load) { l.Rate = Steady(1, 0) },
	} {
		l := good
		change(&l)
		if l.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
