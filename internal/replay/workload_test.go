package replay

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

func mustJobs(t testing.TB, w Workload, samples int) []Job {
	t.Helper()
	jobs, err := w.Jobs(samples, nil)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func load(p Process, rate float64, d time.Duration) Workload {
	return Workload{Process: p, Rate: rate, Duration: d, JobSize: 1, Seed: 7}
}

func items(jobs []Job) (n int) {
	for _, j := range jobs {
		n += len(j.Samples)
	}
	return n
}

func TestPoissonMoments(t *testing.T) {
	const rate, seconds = 1000, 100
	jobs := mustJobs(t, load(Poisson, rate, seconds*time.Second), 10)
	// A count is within 5 standard deviations of its mean.
	if n := float64(len(jobs)); math.Abs(n-rate*seconds) > 5*math.Sqrt(rate*seconds) {
		t.Errorf("%v arrivals, want about %v", n, rate*seconds)
	}
	var gaps []float64
	for i := 1; i < len(jobs); i++ {
		gaps = append(gaps, (jobs[i].At-jobs[i-1].At).Seconds()*rate)
	}
	mean, square := moments(gaps)
	if math.Abs(mean-1) > 0.02 || math.Abs(square-mean*mean-1) > 0.05 {
		t.Errorf("gaps have mean %.3f and variance %.3f, want 1 and 1", mean, square-mean*mean)
	}
	// Counts in disjoint bins have a variance equal to their mean.
	bins := make([]float64, seconds*10)
	for _, j := range jobs {
		bins[int(j.At/(100*time.Millisecond))]++
	}
	mean, square = moments(bins)
	if ratio := (square - mean*mean) / mean; ratio < 0.85 || ratio > 1.15 {
		t.Errorf("counts have dispersion %.3f, want 1", ratio)
	}
}

func moments(x []float64) (mean, square float64) {
	for _, v := range x {
		mean += v
		square += v * v
	}
	return mean / float64(len(x)), square / float64(len(x))
}

func TestConstantGaps(t *testing.T) {
	w := load(Constant, 100, time.Second)
	w.JobSize = 5
	jobs := mustJobs(t, w, 3)
	if len(jobs) != 20 || items(jobs) != 100 {
		t.Fatalf("%d jobs of %d items", len(jobs), items(jobs))
	}
	for i, j := range jobs {
		if want := time.Duration(i) * 50 * time.Millisecond; (j.At - want).Abs() > time.Microsecond {
			t.Errorf("job %d comes at %v, want %v", i, j.At, want)
		}
		if j.First != 5*i {
			t.Errorf("job %d begins at item %d", i, j.First)
		}
	}
}

func TestPaperSizes(t *testing.T) {
	w := load(Paper, 60, 200*time.Second)
	w.JobSize = PaperSize
	jobs := mustJobs(t, w, 10)
	if n := items(jobs); n != 60*200 {
		t.Errorf("%d items, want every second to have its 60", n)
	}
	seconds := map[int]int{}
	large := 0
	for i, j := range jobs {
		if len(j.Samples) < 1 {
			t.Fatalf("job %d is empty", i)
		}
		if len(j.Samples) > 1 {
			large++
		}
		seconds[int((j.At + time.Millisecond).Seconds())] += len(j.Samples)
		if i > 0 { // the gap is that of the job before it
			want := time.Duration(float64(len(jobs[i-1].Samples)) / 60 * float64(time.Second))
			if gap := j.At - jobs[i-1].At; (gap - want).Abs() > time.Microsecond {
				t.Fatalf("gap %v after a job of %d", gap, len(jobs[i-1].Samples))
			}
		}
	}
	for s, n := range seconds {
		if n != 60 {
			t.Errorf("second %d has %d items", s, n)
		}
	}
	// P(int(N(1,6)) >= 2) = P(N >= 2) = 0.434; cutting at a second's end takes a little away.
	if share := float64(large) / float64(len(jobs)); share < 0.36 || share > 0.48 {
		t.Errorf("%.2f of the jobs have more than one item", share)
	}
}

func TestTraceFollowsItsSeconds(t *testing.T) {
	trace := []float64{10, 0, 200, 50}
	for _, p := range []Process{Constant, Poisson} {
		w := Workload{Process: p, Trace: trace, Duration: time.Hour, JobSize: 1, Seed: 3}
		counts := make([]float64, len(trace))
		for _, j := range mustJobs(t, w, 5) {
			counts[int(j.At.Seconds())]++
		}
		for s, want := range trace {
			slack := 5 * math.Sqrt(want)
			if p == Constant {
				slack = 0
			}
			if math.Abs(counts[s]-want) > slack {
				t.Errorf("%s: second %d has %v arrivals, want %v", p, s, counts[s], want)
			}
		}
	}
	w := Workload{Process: Constant, Trace: trace, Duration: 2500 * time.Millisecond, JobSize: 1}
	if n := len(mustJobs(t, w, 5)); n != 110 {
		t.Errorf("the first 2.5 s have %d arrivals, want 110", n)
	}
}

func TestSeedDecidesEverything(t *testing.T) {
	w := load(Poisson, 500, 4*time.Second)
	w.JobSize = PaperSize
	w.Floors, w.Deadlines = Spread{Low: 0.9, High: 0.98}, Spread{Low: 0.05, High: 0.2}
	one, two := mustJobs(t, w, 50), mustJobs(t, w, 50)
	if !reflect.DeepEqual(one, two) {
		t.Error("the same seed gives different jobs")
	}
	w.Seed++
	if reflect.DeepEqual(one, mustJobs(t, w, 50)) {
		t.Error("another seed gives the same jobs")
	}
	w.Seed--
	w.Floors = Fixed(0.5) // one knob moves one thing
	for i, j := range mustJobs(t, w, 50) {
		if j.At != one[i].At || j.Deadline != one[i].Deadline || !slices.Equal(j.Samples, one[i].Samples) || j.Floor != 500_000 {
			t.Fatalf("job %d changed with the floor: %+v, was %+v", i, j, one[i])
		}
	}
}

func TestSpreadsAndSamples(t *testing.T) {
	w := load(Constant, 1000, 10*time.Second)
	w.Floors, w.Deadlines, w.Late = Spread{Low: 0.9, High: 0.98}, Spread{Low: 0.05, High: 0.15}, slo.LateRun
	jobs := mustJobs(t, w, 300)
	used := map[int32]int{}
	var floors, deadlines []float64
	for _, j := range jobs {
		floors, deadlines = append(floors, j.Floor.Float()), append(deadlines, j.Deadline.Seconds())
		used[j.Samples[0]]++
		if j.Late != slo.LateRun {
			t.Fatal("a job lost its late rule")
		}
	}
	if m, _ := moments(floors); math.Abs(m-0.94) > 0.001 || slices.Min(floors) < 0.9 || slices.Max(floors) > 0.98 {
		t.Errorf("floors from %v to %v, mean %v", slices.Min(floors), slices.Max(floors), m)
	}
	if m, _ := moments(deadlines); math.Abs(m-0.1) > 0.001 || slices.Min(deadlines) < 0.05 || slices.Max(deadlines) > 0.15 {
		t.Errorf("deadlines from %v to %v, mean %v", slices.Min(deadlines), slices.Max(deadlines), m)
	}
	for s, n := range used { // 10,000 items over 300 samples: 33 passes and a third
		if n < 33 || n > 34 {
			t.Errorf("sample %d is used %d times", s, n)
		}
	}
	if len(used) != 300 {
		t.Errorf("%d samples used", len(used))
	}
}

func TestWorkloadErrors(t *testing.T) {
	good := load(Poisson, 10, time.Second)
	cases := []struct {
		name   string
		change func(*Workload)
		say    string
	}{
		{"rate", func(w *Workload) { w.Rate = 0 }, "rate"},
		{"not a rate", func(w *Workload) { w.Rate = math.NaN() }, "rate"},
		{"duration", func(w *Workload) { w.Duration = 0 }, "duration"},
		{"size", func(w *Workload) { w.JobSize = 0 }, "job size"},
		{"paper with sizes", func(w *Workload) { w.Process = Paper }, "paper"},
		{"process", func(w *Workload) { w.Process = "uniform" }, "poisson, constant, paper"},
		{"floor", func(w *Workload) { w.Floors = Fixed(1.5) }, "min_accuracy"},
		{"deadline", func(w *Workload) { w.Deadlines = Fixed(-1) }, "deadline"},
		{"too much", func(w *Workload) { w.Rate, w.Duration = 1e6, time.Hour }, "lower the rate"},
		{"too much of a trace", func(w *Workload) { w.Trace, w.Duration = slices.Repeat([]float64{1e6}, 100), time.Hour }, "lower the rate"},
	}
	for _, c := range cases {
		w := good
		c.change(&w)
		if _, err := w.Jobs(5, nil); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want a word about %q", c.name, err, c.say)
		}
	}
	if _, err := good.Jobs(0, nil); err == nil {
		t.Error("jobs without samples")
	}
}

// TestSamplesOfAJobHaveTheSameSizes draws jobs of a set whose samples have three sizes.
func TestSamplesOfAJobHaveTheSameSizes(t *testing.T) {
	const samples = 100
	sizeOf := func(i int) slo.Sizes { return slo.Sizes(0).With(0, []int{0, 1, 1, 2}[i%4]) } // 25, 50 and 25 samples
	for _, size := range []int{1, 8, 200, PaperSize} {
		w := Workload{Process: Constant, Rate: 4000, Duration: 10 * time.Second, JobSize: size, Floors: Fixed(0), Deadlines: Fixed(0), Seed: 3}
		jobs, err := w.Jobs(samples, sizeOf)
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.Jobs(samples, sizeOf)
		if err != nil || !reflect.DeepEqual(jobs, again) {
			t.Errorf("job size %d: two draws differ: %v", size, err)
		}
		var used [samples]int
		items := 0
		for _, j := range jobs {
			for _, i := range j.Samples {
				if sizeOf(int(i)) != sizeOf(int(j.Samples[0])) {
					t.Fatalf("job size %d: a job has samples of the sizes %x and %x", size, sizeOf(int(i)), sizeOf(int(j.Samples[0])))
				}
				used[i]++
				items++
			}
		}
		low, high := slices.Min(used[:]), slices.Max(used[:])
		if mean := items / samples; low < mean/2 || high > 2*mean {
			t.Errorf("job size %d: samples are used %d to %d times, %d on average", size, low, high, mean)
		}
	}
}
