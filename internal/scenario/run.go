package scenario

import (
	"context"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// load returns the client's load when the group's load is rate. index distinguishes it
// from the group's other clients.
func (c Client) load(g *Group, rate float64, seed uint64, index int) workload.Load {
	return workload.Load{Process: c.Process, Rate: c.Shape.steps(rate*c.Share, g.Duration, seed), Sizes: c.Sizes, Floors: c.Floors,
		Deadlines: c.Slack, Seed: seed, Client: uint64(index)}
}

// clients returns the group's clients, at a load of rate items per second.
func (g *Group) clients(rate float64, seed uint64) []sim.Client {
	clients := make([]sim.Client, len(g.Clients))
	for i, c := range g.Clients {
		clients[i] = sim.Client{Load: c.load(g, rate, seed, i), Model: c.Model, Planner: g.Models[c.Model].True, Late: c.Late, Confidence: c.Confidence,
			AllFirst: c.AllFirst, Missing: c.Missing}
	}
	return clients
}

// bins is the number of bins of a cell's course over time.
const bins = 120

// simulate runs one policy under one load.
func (g *Group) simulate(ctx context.Context, policy plan.Policy, rate float64, seed uint64) (sim.Report, error) {
	cfg := g.config(policy, seed)
	cfg.BinWidth = g.Duration / bins
	return sim.Run(cfg, until(ctx, sim.Arrivals(g.clients(rate, seed))), nil)
}

// until ends a load when ctx ends.
func until(ctx context.Context, arrivals iter.Seq[sim.Arrival]) iter.Seq[sim.Arrival] {
	return func(yield func(sim.Arrival) bool) {
		for a := range arrivals {
			if ctx.Err() != nil || !yield(a) {
				return
			}
		}
	}
}

// config returns the simulation of the group under a policy.
func (g *Group) config(policy plan.Policy, seed uint64) sim.Config {
	cfg := sim.Config{Instances: g.fleet(), Seed: seed, Faults: g.Faults,
		Core: sched.Config{Policy: policy, QueueItemsMax: sched.DefaultQueueItemsMax, QueueJobsMax: sched.DefaultQueueJobsMax}}
	for _, m := range g.Models {
		cfg.Core.Models = append(cfg.Core.Models, sched.Model{Name: m.Name, Planner: m.Profiled, BatchItemsMax: m.BatchItemsMax, Classes: m.classes})
		cfg.True = append(cfg.True, m.True)
	}
	return cfg
}

// holds reports whether a policy keeps the late share within LateShareMax. The run ends
// as soon as it cannot, so trying a rate that is too high is cheap.
func (g *Group) holds(ctx context.Context, policy plan.Policy, rate float64, seed uint64) (bool, error) {
	offered := 0
	for a := range until(ctx, sim.Arrivals(g.clients(rate, seed))) {
		offered += a.Items
	}
	most := int(LateShareMax * float64(offered))
	cfg := g.config(policy, seed)
	cfg.LateItemsMax = max(1, most)
	r, err := sim.Run(cfg, until(ctx, sim.Arrivals(g.clients(rate, seed))), nil)
	return r.Items.Total()-r.Items[slo.OnTime] <= most, err
}

// Bound returns the fluid bound of the group, in items per second: what its instances
// could serve if every item ran on the cheapest mix for its floor, in full batches,
// without deadlines or faults. It is a bound because mixes are continuous: a job of one
// item cannot be mixed.
func (g *Group) Bound(seed uint64) float64 {
	const sample = 50_000 // jobs
	type key struct {
		model      int
		present    slo.Modalities
		confidence slo.Confidence
	}
	frontiers := map[key][]plan.FrontierPoint{}
	work, items, jobs := 0.0, 0, 0
	for a := range sim.Arrivals(g.clients(g.Loads[len(g.Loads)/2], seed)) {
		k := key{a.Model, a.Present, a.Objective.Confidence}
		f, ok := frontiers[k]
		if !ok {
			planner := g.Models[a.Model].True.At(a.Objective.Confidence)
			f = planner.Frontier(planner.Runnable(slo.Carried{Present: a.Present, Sizes: a.Sizes}))
			f = slices.DeleteFunc(f, func(p plan.FrontierPoint) bool { return !p.Hull })
			frontiers[k] = f
		}
		if t := mix(f, a.Objective.Floor); t > 0 {
			work += t * float64(a.Items)
			items += a.Items
		}
		if jobs++; jobs == sample {
			break
		}
	}
	if work == 0 {
		return 0
	}
	slots := 0.0
	for _, k := range g.Instances {
		slots += float64(k.Count*k.Slots) * k.Speed
	}
	return slots * float64(items) / work * float64(time.Second)
}

// mix returns the time per item, in nanoseconds, of the cheapest mix with an accuracy
// of at least floor; 0 if there is none.
func mix(hull []plan.FrontierPoint, floor slo.Accuracy) float64 {
	for i, p := range hull {
		if p.Accuracy < floor {
			continue
		}
		if i == 0 {
			return p.PerItem
		}
		q := hull[i-1]
		return q.PerItem + (p.PerItem-q.PerItem)*float64(floor-q.Accuracy)/float64(p.Accuracy-q.Accuracy)
	}
	return 0
}

// LateShareMax is the largest share of items not on time at which a policy holds a
// load.
const LateShareMax = 0.01

// capacity returns the highest rate with at most LateShareMax late, found by bisection
// to half a per cent of the fluid bound. Nearly always, all lower rates are held too.
// If not, it returns one of the rates up to which a load is held.
func (g *Group) capacity(ctx context.Context, policy plan.Policy, seed uint64, bound float64) (float64, error) {
	const halvings = 8
	low, high := 0.0, 1.25*bound
	for range halvings {
		mid := (low + high) / 2
		held, err := g.holds(ctx, policy, mid, seed)
		if err != nil {
			return 0, err
		}
		if held {
			low = mid
		} else {
			high = mid
		}
	}
	return low, nil
}

// RunOptions configure a run.
type RunOptions struct {
	Policies []plan.Policy
	Seed     uint64
	Loads    []float64     // instead of the groups' own
	Duration time.Duration // > 0: at most this
	Capacity bool          // also find the policies' capacities
	Workers  int           // 0: one for each processor
	// Progress is called with the share done so far, from one goroutine at a time.
	Progress func(share float64)
}

// Run runs every group under every policy at every load. The result does not depend on
// the number of workers. If ctx ends, Run returns early with its error.
func (s *Scenario) Run(ctx context.Context, o RunOptions) (*Result, error) {
	result := &Result{Format: ResultFormat, Scenario: s.Name, Description: s.Description, Seed: o.Seed, Capacity: []Capacity{}}
	for _, p := range o.Policies {
		result.Policies = append(result.Policies, p.String())
	}
	p := &pool{progress: o.Progress}
	for i := range s.Groups {
		g := s.Groups[i]
		if o.Loads != nil {
			g.Loads = o.Loads
		}
		if o.Duration > 0 {
			g.Duration = min(g.Duration, o.Duration)
		}
		p.add(&g, o, result)
	}
	workers := o.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if err := p.run(ctx, workers); err != nil {
		return nil, err
	}
	result.Comparison = result.compare()
	return result, nil
}

// pool is work that does not depend on its order.
type pool struct {
	tasks    []task
	progress func(share float64)
	total    float64

	mu   sync.Mutex
	next int
	done float64
	err  error
}

// task is one piece of work; weight estimates its size.
type task struct {
	weight float64
	run    func(ctx context.Context) error
}

// add plans a group's runs and reserves the places of their results.
func (p *pool) add(g *Group, o RunOptions, result *Result) {
	bound := 0.0
	if o.Capacity {
		bound = g.Bound(o.Seed)
	}
	for _, policy := range o.Policies {
		for _, load := range g.Loads {
			at := len(result.Cells)
			result.Cells = append(result.Cells, Cell{})
			p.put(load, func(ctx context.Context) error {
				r, err := g.simulate(ctx, policy, load, o.Seed)
				if err != nil {
					return err
				}
				result.Cells[at] = newCell(g, policy.String(), load, &r)
				return nil
			})
		}
		if !o.Capacity {
			continue
		}
		at := len(result.Capacity)
		result.Capacity = append(result.Capacity, Capacity{Group: g.Name, Policy: policy.String(), Bound: bound})
		p.put(bound*5, func(ctx context.Context) error {
			rate, err := g.capacity(ctx, policy, o.Seed, bound)
			result.Capacity[at].Rate = rate
			return err
		})
	}
}

func (p *pool) put(weight float64, run func(context.Context) error) {
	weight = max(weight, math.SmallestNonzeroFloat64)
	p.tasks = append(p.tasks, task{weight, run})
	p.total += weight
}

// run does all tasks, the heaviest first, so that no worker is left with a long one at
// the end.
func (p *pool) run(ctx context.Context, workers int) error {
	slices.SortStableFunc(p.tasks, func(a, b task) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return 0
	})
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				t, ok := p.take(ctx)
				if !ok {
					return
				}
				p.finish(t, t.run(ctx))
			}
		})
	}
	all.Wait()
	if p.err == nil {
		p.err = ctx.Err() // the last tasks may have been cut short
	}
	return p.err
}

func (p *pool) take(ctx context.Context) (task, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = ctx.Err()
	}
	if p.err != nil || p.next == len(p.tasks) {
		return task{}, false
	}
	p.next++
	return p.tasks[p.next-1], true
}

func (p *pool) finish(t task, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.done += t.weight
	if p.progress != nil {
		p.progress(p.done / p.total)
	}
}
