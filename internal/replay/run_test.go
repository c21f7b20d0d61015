package replay

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// device is a server in virtual time: it serves one job after the other, each
// for its service time.
type device struct {
	free    chan struct{}
	service func(Job) time.Duration
}

func newDevice(service time.Duration) *device {
	d := &device{free: make(chan struct{}, 1), service: func(Job) time.Duration { return service }}
	d.free <- struct{}{}
	return d
}

func (d *device) send(ctx context.Context, job Job, a *Answer) {
	select {
	case <-d.free:
	case <-ctx.Done():
		return
	}
	time.Sleep(d.service(job)) // virtual
	d.free <- struct{}{}
	a.Outcome, a.Expected = slo.OnTime, 970_000
	a.Mix = append(a.Mix, VariantItems{"v", len(job.Samples)})
	for range job.Samples {
		a.Scores = append(a.Scores, 1)
	}
}

func near(t *testing.T, what string, got, want, slack float64) {
	t.Helper()
	if math.Abs(got-want) > slack {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

var generous = Options{Concurrency: 1000, Grace: time.Minute}

// TestNoCoordinatedOmission stalls the server for a second. A closed loop would
// see one slow request; the open one sees every request that came meanwhile.
func TestNoCoordinatedOmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := load(Constant, 100, 10*time.Second)
		w.Deadlines = Fixed(0.1)
		d := newDevice(0)
		d.service = func(j Job) time.Duration {
			if j.At == 5*time.Second {
				return time.Second
			}
			return 0
		}
		for _, workers := range []int{1, 1000} { // with one worker the stall stops sending, and must still be seen
			o := generous
			o.Concurrency = workers
			r := Run(t.Context(), mustJobs(t, w, 5), d.send, o).Report()
			// Jobs at 5.00, 5.01, ... 5.89 wait 1.00, 0.99, ... 0.11 seconds.
			if r.Jobs.Late != 90 || r.Jobs.OnTime != 910 {
				t.Errorf("%d workers: %d late, %d on time; want 90 and 910", workers, r.Jobs.Late, r.Jobs.OnTime)
			}
			near(t, "the mean", r.JCT.Mean, 50.5, 0.1) // 100 jobs wait 505 ms in the mean
			near(t, "the 99th percentile", r.JCT.P99, 900, 1)
			near(t, "the worst", r.JCT.Max, 1000, 0.1)
			if lagging := r.Generator.LagShare > 0.05; lagging != (workers == 1) {
				t.Errorf("%d workers: %.2f of the requests were sent late", workers, r.Generator.LagShare)
			}
		}
	})
}

func TestRunMeasuresAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 200 jobs/s for 2 s into a device that serves 100/s: the k-th job waits k x 5 ms.
		r := Run(t.Context(), mustJobs(t, load(Constant, 200, 2*time.Second), 5), newDevice(10*time.Millisecond).send, generous).Report()
		near(t, "offered", r.Offered.ItemsPerSecond, 200, 0.01)
		near(t, "served", r.Served.ItemsPerSecond, 100, 0.5)
		near(t, "the mean", r.JCT.Mean, 10+399*5/2., 0.1)
		near(t, "seconds", r.Seconds, 4, 0.01)
		if r.Generator.InFlightMax != 201 && r.Generator.InFlightMax != 200 {
			t.Errorf("%d in flight at most", r.Generator.InFlightMax)
		}
		if r.Jobs.OnTime != 400 || len(r.Variants) != 1 || r.Variants[0] != (VariantItems{"v", 400}) {
			t.Errorf("%+v %+v", r.Jobs, r.Variants)
		}
	})
}

func TestWarmupIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(0)
		d.service = func(j Job) time.Duration {
			if j.At < time.Second {
				return 9 * time.Millisecond
			}
			return time.Millisecond
		}
		o := generous
		o.Warmup = time.Second
		r := Run(t.Context(), mustJobs(t, load(Constant, 100, 3*time.Second), 5), d.send, o).Report()
		if r.Jobs.OnTime != 200 || r.Variants[0].Items != 200 {
			t.Errorf("%d jobs counted, %d items in the mix", r.Jobs.OnTime, r.Variants[0].Items)
		}
		near(t, "the worst", r.JCT.Max, 1, 0.01)
		near(t, "offered", r.Offered.ItemsPerSecond, 100, 0.01)
	})
}

func TestGraceEndsARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := generous
		o.Grace = time.Second
		began := time.Now()
		r := Run(t.Context(), mustJobs(t, load(Constant, 10, time.Second), 5), newDevice(time.Hour).send, o).Report()
		// The one that is being served is not interrupted by this device; all others are.
		if took := time.Since(began); took > time.Hour+time.Minute {
			t.Errorf("took %v", took)
		}
		if r.Jobs.Cancelled != 9 || r.Failures[0] != (Failure{errGrace.Error(), 9}) {
			t.Errorf("%+v %+v", r.Jobs, r.Failures)
		}
	})
}

func TestInterruptedRunReportsWhatItSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1005*time.Millisecond, func() { cancel(errors.New("interrupted")) })
		r := Run(ctx, mustJobs(t, load(Constant, 100, time.Minute), 5), newDevice(time.Millisecond).send, generous).Report()
		if r.Jobs.OnTime != 101 || r.Offered.Jobs != 101 || !r.EndedSoon {
			t.Errorf("%+v, offered %+v, ended soon: %v", r.Jobs, r.Offered, r.EndedSoon)
		}
		near(t, "offered", r.Offered.ItemsPerSecond, 100, 0.01)
	})
}

func TestOutcomesAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := []slo.Outcome{slo.Shed, slo.Infeasible, slo.Failed, slo.OnTime}
		send := func(_ context.Context, j Job, a *Answer) {
			a.Outcome = ends[int(j.At/(10*time.Millisecond))%len(ends)]
			if !a.Outcome.Ran() {
				a.Failure = a.Outcome.String()
			}
			a.Expected = 900_000
			a.Scores = append(a.Scores, 1, 0)
		}
		w := load(Constant, 200, 400*time.Millisecond)
		w.JobSize, w.Floors = 2, Fixed(0.95)
		r := Run(t.Context(), mustJobs(t, w, 5), send, generous).Report()
		want := Outcomes{OnTime: 10, Shed: 10, Infeasible: 10, Failed: 10, OnTimeShare: 0.25, LateShare: 0.75}
		if r.Jobs != want {
			t.Errorf("jobs %+v", r.Jobs)
		}
		if r.Items.Shed != 20 || r.Items.LateShare != 0.75 || len(r.Failures) != 3 || r.Failures[0].Jobs != 10 {
			t.Errorf("items %+v, failures %+v", r.Items, r.Failures)
		}
		if a := r.Accuracy; a.Items != 20 || a.Right != 10 || a.BelowFloor != 10 || a.Floor != 0.95 {
			t.Errorf("accuracy %+v", a)
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []Progress
		o := generous
		o.Progress = func(p Progress) { seen = append(seen, p) }
		Run(t.Context(), mustJobs(t, load(Constant, 100, time.Second), 5), newDevice(0).send, o)
		if len(seen) != 4 || seen[3].Sent < 79 || seen[3].Good < 79 || seen[3].Length != 990*time.Millisecond {
			t.Errorf("%+v", seen)
		}
	})
}

// TestDeadlineShrinksByTheLag: a request that is sent late asks for what is left.
func TestDeadlineShrinksByTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		send := func(_ context.Context, j Job, a *Answer) {
			asked = append(asked, j.Deadline)
			time.Sleep(15 * time.Millisecond)
			a.Outcome = slo.OnTime
		}
		w := load(Constant, 100, 50*time.Millisecond)
		w.Deadlines = Fixed(0.012)
		o := generous
		o.Concurrency = 1
		r := Run(t.Context(), mustJobs(t, w, 5), send, o).Report()
		want := []time.Duration{12e6, 7e6, 2e6, 1e6, 1e6}
		for i, d := range asked {
			if d != want[i] {
				t.Errorf("request %d asks for %v, want %v", i, d, want[i])
			}
		}
		if r.Jobs.Late != 5 {
			t.Errorf("%+v", r.Jobs)
		}
	})
}

func TestEmptyRun(t *testing.T) {
	r := Run(t.Context(), nil, nil, generous).Report()
	if r.Offered.Jobs != 0 || r.Jobs != (Outcomes{}) || r.Accuracy.Items != 0 {
		t.Errorf("%+v", r)
	}
}
