package sched

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/slo"
)

// chooser is a core that is about to choose. Its model has variants with one, two and
// three modalities, accuracies 85, 92 and 99 %, and 1, 3 and 8 ms per item. A fourth
// variant must never be chosen: it is as accurate as the second and slower than the
// third. Batches have up to 16 items.
type chooser struct {
	*Core
	m    *model
	head *job
}

func newChooser(t *testing.T, instances int) *chooser {
	t.Helper()
	var variants []plan.Variant
	for _, v := range []struct {
		modalities slo.Modalities
		accuracy   slo.Accuracy
		each       time.Duration
	}{{1, 850_000, ms}, {3, 920_000, 3 * ms}, {7, 990_000, 8 * ms}, {5, 920_000, 9 * ms}} {
		var points []plan.Point
		for b := 1; b <= 16; b++ {
			points = append(points, plan.Point{Items: b, Time: 2*ms + time.Duration(b)*v.each})
		}
		curve, err := plan.NewCurve(points)
		if err != nil {
			t.Fatal(err)
		}
		variants = append(variants, plan.Variant{Modalities: v.modalities, Accuracy: v.accuracy, Curve: curve})
	}
	planner, err := plan.New(variants)
	if err != nil {
		t.Fatal(err)
	}
	core, err := New(Config{QueueItemsMax: 1000, QueueJobsMax: 1000, Models: []Model{{Planner: planner, BatchItemsMax: 16}}})
	if err != nil {
		t.Fatal(err)
	}
	core.now = slo.Instant(time.Second)
	for i := range instances {
		core.instanceUp(InstanceUp{Instance: InstanceID(i)})
	}
	return &chooser{Core: core, m: core.models[0]}
}

// wait queues a job that is planned on the cheapest variant. The first one is the head.
func (c *chooser) wait(items int, in time.Duration, present slo.Modalities) *job {
	j := &job{id: JobID(len(c.jobs) + 1), n: items, waiting: items, strategy: []int{items, 0, 0, 0}, planner: c.m.Planner,
		allowed: c.m.Planner.Runnable(slo.Carried{Present: present}), objective: slo.Objective{Deadline: slo.Never}}
	if in > 0 {
		j.objective.Deadline = c.now.Add(in)
	}
	j.first = j
	j.latest = c.latestStart(j)
	c.jobs[j.id] = j
	c.pend(j, items)
	c.enqueue(j)
	c.head = c.m.pool.queue.first()
	return j
}

// expect feeds the forecast with jobs of one item at the given gaps. They are due after
// deadline (0: never) and can wait for half of it.
func (c *chooser) expect(gap func() time.Duration, deadline time.Duration) {
	gaps := make([]time.Duration, 300)
	at := c.now
	for i := range gaps {
		gaps[i] = gap()
		at = at.Add(-gaps[i])
	}
	work := float64(ms) * 1.125 / float64(c.m.pool.slotsOr1()) // of the cheapest variant in full batches
	for _, g := range gaps {
		at = at.Add(g)
		if deadline == 0 {
			c.forecast.arrive(at, 1, slo.Never, int64(work), math.MaxInt64)
			continue
		}
		c.forecast.arrive(at, 1, at.Add(deadline), int64(work), deadline/2)
	}
}

func (c *chooser) pick() (plan.Batch, *Decision) {
	why := &Decision{}
	planned := plan.Batch{Route: c.head.planned(), Items: min(c.m.items, c.m.batchBest(c.m.class(0), c.head.planned()))}
	return c.choose(c.m, 0, c.head, planned, why), why
}

// TestChooseIdle checks that all modalities run if no arrivals are expected and time
// does not matter.
func TestChooseIdle(t *testing.T) {
	c := newChooser(t, 1)
	c.wait(10, 0, 7)
	if got, why := c.pick(); got != (plan.Batch{Route: 2, Items: 10}) {
		t.Errorf("chose %+v of %+v", got, why.Options)
	}
	// Slack is reported as an hour at most.
	if _, why := c.pick(); why.Slack != time.Hour || why.Reserve != 0 {
		t.Errorf("slack %v, reserve %v", why.Slack, why.Reserve)
	}
}

// TestChooseKeepsToWhatIsAllowed checks that no job is offered a variant with a
// modality that it lacks.
func TestChooseKeepsToWhatIsAllowed(t *testing.T) {
	for present, want := range map[slo.Modalities]int{1: 0, 3: 1, 5: 3, 7: 2} {
		c := newChooser(t, 1)
		c.wait(4, 0, present)
		if got, _ := c.pick(); got.Route != want {
			t.Errorf("with modalities %b chose %+v, want variant %d", present, got, want)
		}
	}
}

// TestChooseUnderLoad checks that accuracy falls as arrivals become more frequent: it
// is highest on an idle server and lowest on a full one.
func TestChooseUnderLoad(t *testing.T) {
	for name, stream := range map[string]func(mean time.Duration) func() time.Duration{
		"clockwork": every, "random": func(mean time.Duration) func() time.Duration { return atRandom(3, mean) }} {
		last := math.MaxInt
		for _, gap := range []time.Duration{10 * time.Second, 300 * ms, 100 * ms, 30 * ms, 10 * ms, 5 * ms, 2 * ms, ms} {
			c := newChooser(t, 1)
			c.wait(8, 200*ms, 7)
			c.expect(stream(gap), 14*ms)
			got, _ := c.pick()
			if got.Route > last {
				t.Errorf("%s every %v: variant %d, %d at a lower load", name, gap, got.Route, last)
			}
			last = got.Route
			if gap == 10*time.Second && got != (plan.Batch{Route: 2, Items: 8}) {
				t.Errorf("%s every %v: chose %+v", name, gap, got)
			}
		}
		if last != 0 {
			t.Errorf("%s: a full server chose variant %d", name, last)
		}
	}
}

// TestChooseMakesNobodyLate checks the bounds of an upgrade: the head must be on time,
// and the extra time must not exceed the slack of the queue's tightest job.
func TestChooseMakesNobodyLate(t *testing.T) {
	has := func(why *Decision, b plan.Batch) bool {
		return slices.ContainsFunc(why.Options, func(o Option) bool { return o.Batch == b })
	}
	// One item on variant 2 takes 10 ms: 8.875 ms more than its share of a full batch
	// on the cheapest variant.
	for _, in := range []time.Duration{9 * ms, 10*ms - 1, 10 * ms, 30 * ms} {
		c := newChooser(t, 1)
		c.wait(1, in, 7)
		_, why := c.pick()
		if got, want := has(why, plan.Batch{Route: 2, Items: 1}), in >= 10*ms; got != want {
			t.Errorf("head due in %v: upgrade offered %v, want %v", in, got, want)
		}
	}
	// The head leaves just enough slack; a job behind it may leave less.
	const enough = 8875 * time.Microsecond
	for _, slack := range []time.Duration{8 * ms, enough - 1, enough, 20 * ms} {
		c := newChooser(t, 1)
		c.wait(1, 10*ms, 7)
		c.wait(1, 2250*time.Microsecond+slack, 7)
		_, why := c.pick()
		if why.Slack != min(slack, enough) {
			t.Fatalf("slack %v, want %v", why.Slack, min(slack, enough))
		}
		if got, want := has(why, plan.Batch{Route: 2, Items: 1}), slack >= enough; got != want {
			t.Errorf("slack %v: upgrade offered %v, want %v", slack, got, want)
		}
	}
}

// TestChooseProperties checks every choice of random cores.
func TestChooseProperties(t *testing.T) {
	upgrades := 0
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 8))
		c := newChooser(t, 1+rng.IntN(3))
		for range 1 + rng.IntN(6) {
			in := time.Duration(0)
			if rng.IntN(4) > 0 {
				in = time.Duration(1+rng.IntN(400)) * ms
			}
			c.wait(1+rng.IntN(6), in, []slo.Modalities{1, 3, 7}[rng.IntN(3)])
		}
		for v := range c.m.slowness {
			c.m.class(0).scale[v] = 0.5 + rng.Float64()
			c.measureVariant(c.m, v)
		}
		c.m.batchInefficiency, c.m.deviation = 1+rng.Float64(), rng.Float64()/5
		if rng.IntN(5) > 0 {
			c.expect(atRandom(seed, time.Duration(1+rng.IntN(200))*ms), time.Duration(5+rng.IntN(300))*ms)
		}
		got, why := c.pick()
		checkChoice(t, c, got, why)
		if t.Failed() {
			t.Fatalf("seed %d: chose %+v of %+v, slack %v", seed, got, why.Options, why.Slack)
		}
		if got.Route != c.head.planned() {
			upgrades++
		}
	}
	if upgrades < 100 || upgrades > 900 {
		t.Errorf("%d of 1000 choices are upgrades: the random cores are too similar", upgrades)
	}
}

// checkChoice checks each option, and that the best one is chosen (the first among
// equals).
func checkChoice(t *testing.T, c *chooser, got plan.Batch, why *Decision) {
	t.Helper()
	variants := c.m.Planner.Routes()
	planned := why.Options[0]
	if planned.Route != c.head.planned() || planned.Items != min(c.m.items, 16) {
		t.Errorf("the first option is %+v", planned)
	}
	value := func(o Option) float64 { // a late item costs as much as the accuracy of ten items
		return (variants[o.Route].Accuracy-variants[planned.Route].Accuracy).Float()*float64(o.Items) - 10*o.Late
	}
	best := planned
	for i, o := range why.Options {
		switch {
		case !c.head.allowed.Has(o.Route) || o.Route == 3:
			t.Errorf("option %+v runs what the head cannot, or what another variant beats", o)
		case !slices.Contains([]int{planned.Items, planned.Items / 2, planned.Items / 4, planned.Items / 8, planned.Items / 16}, o.Items) || o.Items < 1:
			t.Errorf("option %+v is not what is planned, halved so and so often", o)
		case o.Predicted != c.m.class(0).batchTime(o.Route, o.Items) || o.Late < 0 || math.IsNaN(o.Late):
			t.Errorf("option %+v is wrong about what it means", o)
		case o.Route != planned.Route && c.now.Add(c.m.class(0).batchTime(o.Route, 1)) > c.head.objective.Deadline:
			t.Errorf("option %+v makes the head late", o)
		}
		for _, other := range why.Options[:i] {
			if other.Batch == o.Batch {
				t.Errorf("option %+v comes twice", o)
			}
		}
		if value(o) > value(best) {
			best = o
		}
	}
	if got != best.Batch {
		t.Errorf("the option of the greatest value is %+v", best)
	}
	checkOffer(t, c, why)
}

// checkOffer checks the reserve, and that an upgrade is offered exactly if its extra
// time fits into the slack after the reserve.
func checkOffer(t *testing.T, c *chooser, why *Decision) {
	t.Helper()
	unknown := c.forecast.irregular() * min(1, c.forecast.load())
	near(t, "reserve", float64(why.Reserve), 0.15*unknown*c.forecast.meanDeadline, 1)
	planned, share := why.Options[0], 1/float64(c.m.pool.slotsOr1())
	perItem := c.m.Planner.Routes()[planned.Route].Curve.PerItem() * c.m.class(0).scale[planned.Route] * c.m.batchInefficiency * share
	for v := 1; v < 3 && why.Slack < time.Hour; v++ {
		if !c.head.allowed.Has(v) || c.now.Add(c.m.class(0).batchTime(v, 1)) > c.head.objective.Deadline {
			continue
		}
		for b := planned.Items; b >= 1; b /= 2 {
			extra := (1 + 3*c.m.deviation + unknown) * (float64(c.m.class(0).batchTime(v, b))*share - float64(b)*perItem)
			left := float64(why.Slack - why.Reserve)
			offered := slices.ContainsFunc(why.Options, func(o Option) bool { return o.Batch == plan.Batch{Route: v, Items: b} })
			if offered != (extra <= left) && math.Abs(extra-left) > 5 {
				t.Errorf("%d items on variant %d take %g ns more of %g: offered %v", b, v, extra, left, offered)
			}
		}
	}
}

// TestChooseBacklog checks for how much work expected jobs wait. The measure is how
// many of them the planned batch is expected to make late. Each test queues jobs of 8
// items, which take 9 ms in full batches; the first is due in 5 ms.
func TestChooseBacklog(t *testing.T) {
	for name, test := range map[string]struct {
		gap       time.Duration
		usual     time.Duration // deadline of expected jobs; 0: none
		instances int
		others    int           // further jobs
		in        time.Duration // their deadline; 0: none
		work      float64
	}{
		"the batch alone":                                   {100 * ms, 10 * ms, 1, 0, 0, 10e6},
		"more urgent work":                                  {100 * ms, 10 * ms, 1, 3, 8 * ms, 18e6 + 18e6},
		"less urgent work":                                  {100 * ms, 10 * ms, 1, 3, 80 * ms, 18e6},
		"work without a deadline":                           {100 * ms, 10 * ms, 1, 3, 0, 18e6},
		"the same, of jobs without a deadline":              {100 * ms, 0, 1, 199, 0, 1800e6},
		"an idle server of four: half a batch":              {1000 * time.Second, 10 * ms, 4, 0, 0, 5e6},
		"a loaded server of four: a quarter":                {200_000, 2 * ms, 4, 0, 0, 2.5e6},
		"a loaded server of four, all urgent but the first": {200_000, 2 * ms, 4, 5, ms, 4.5e6 + 6.75e6},
		"a batch of four instances, with the rest":          {1000 * time.Second, 10 * ms, 4, 3, 8 * ms, 9e6 + 4.5e6},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChooser(t, test.instances)
			c.wait(8, 5*ms, 7)
			for range test.others {
				c.wait(8, test.in, 7)
			}
			c.expect(atRandom(9, test.gap), test.usual)
			_, why := c.pick()
			unknown := c.forecast.irregular() * min(1, c.forecast.load())
			want := c.forecast.late(c.now, 0.15*unknown*c.forecast.meanDeadline+(1+unknown)*test.work)
			if want == 0 {
				t.Fatal("no item is late")
			}
			near(t, "late", why.Options[0].Late, want, 1e-4*want)
		})
	}
}
