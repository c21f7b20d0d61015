package sim_test

import (
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// fairModel takes at least 0.4 ms per item, in batches of up to 16, so one instance
// serves about 2,500 items per second.
func fairModel(t *testing.T) *plan.Planner {
	t.Helper()
	curve := func(each time.Duration) plan.Curve {
		var points []plan.Point
		for b := 1; b <= 16; b *= 2 {
			points = append(points, plan.Point{Items: b, Time: 200*time.Microsecond + time.Duration(b)*each})
		}
		c, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p, err := plan.New([]plan.Variant{
		{Name: "cheap", Modalities: 1, Accuracy: 900_000, Curve: curve(400 * time.Microsecond)},
		{Name: "all", Modalities: 3, Accuracy: 980_000, Curve: curve(4 * time.Millisecond)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFloodStarvesNobody has one client send ten times what the instance can serve, and
// two others a twentieth and a tenth of it. These two must get all they ask for, and
// the flood the rest. Without fair sharing they are treated like the flood.
func TestFloodStarvesNobody(t *testing.T) {
	p := fairModel(t)
	for _, deadline := range []time.Duration{50 * time.Millisecond, 0} {
		shares := map[bool][3]float64{}
		for _, known := range []bool{true, false} {
			shares[known] = flood(t, p, deadline, known)
		}
		fair, blind := shares[true], shares[false]
		t.Logf("deadline %v: on time %.3f with shares, %.3f without", deadline, fair, blind)
		if fair[1] < 0.99 || fair[2] < 0.99 {
			t.Errorf("deadline %v: of the modest clients' items %.3f and %.3f are on time, want 0.99", deadline, fair[1], fair[2])
		}
		if blind[1] > 0.5 {
			t.Errorf("deadline %v: without shares %.3f of a modest client's items are on time: the test proves nothing", deadline, blind[1])
		}
		if fair[0] < 0.7*blind[0] {
			t.Errorf("deadline %v: the flood gets %.3f of its items done beside %.3f without shares: time is wasted", deadline, fair[0], blind[0])
		}
	}
}

// settled is long after the end of the work that an idle server began before the flood.
const settled = slo.Instant(200 * time.Millisecond)

// flood runs the load and returns, by client, the share of the items arriving after
// settled that were on time.
func flood(t *testing.T, p *plan.Planner, deadline time.Duration, known bool) (shares [3]float64) {
	t.Helper()
	const length = 4 * time.Second
	cfg := sim.Config{Instances: sim.Alike(1), Seed: 1,
		Core: sched.Config{QueueItemsMax: 5000, QueueJobsMax: 5000, Models: []sched.Model{{Name: "m", Planner: p, BatchItemsMax: 16}}}}
	var clients []sim.Client
	for i, rate := range []float64{25_000, 125, 250} {
		c := sim.Client{Planner: p, Load: workload.Load{Process: workload.Poisson, Rate: workload.Steady(rate, length), Seed: 3, Client: uint64(i),
			Sizes: workload.Sizes{Low: 1, High: 1}, Floors: workload.Spread{Low: 0.85, High: 0.85}}}
		if deadline > 0 {
			c.Load.Deadlines = workload.Spread{Low: deadline.Seconds(), High: deadline.Seconds()}
		}
		c.ID = sched.ClientID(i + 1)
		clients = append(clients, c)
	}
	owner := map[sched.JobID]int{}
	var asked, done [3]float64
	arrivals := func(yield func(sim.Arrival) bool) {
		for a := range sim.Arrivals(clients) {
			if a.At > settled {
				owner[a.Job] = int(a.Client - 1)
				asked[a.Client-1]++
			}
			if !known {
				a.Client = 0
			}
			if !yield(a) {
				return
			}
		}
	}
	_, err := sim.Run(cfg, arrivals, func(_ slo.Instant, what any) {
		if f, ok := what.(sched.FinishJob); ok && f.Outcome == slo.OnTime {
			if i, counted := owner[f.Job]; counted {
				done[i]++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range shares {
		shares[i] = done[i] / asked[i]
	}
	return shares
}
