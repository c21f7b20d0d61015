package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
	"github.com/mosel-serve/mosel/tensor"
)

// parity is one load for both the engine and the simulator.
type parity struct {
	policy    plan.Policy
	instances int
	slots     int // of each instance
	served    []engine.Served
	far       bool // the larger variant of the first model runs on another server
	jobs      []sim.Arrival
	seed      uint64
}

// newParity draws jobs for two models, perhaps with gates. Some are cancelled, some
// carry only one modality.
func newParity(t *testing.T, policy plan.Policy, seed uint64, gates bool) parity {
	t.Helper()
	p := parity{policy: policy, instances: 3, slots: 1 + int(seed%2), far: seed > 3, seed: seed}
	var clients []sim.Client
	for i, name := range []string{"one", "two"} {
		served := pair()
		if p.far && i == 0 {
			served.Model.Variants[1].Remote = &modelpkg.Remote{Server: "grpc://far", Slots: p.slots}
		}
		switch {
		case gates && i == 0:
			served = withGate(served)
		case gates: // which chooses
			served = withChoice(served)
		}
		served.Model.Name, served.Profile.Model = name, name
		p.served = append(p.served, served)
		planner, _, err := engine.Routed(served)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, sim.Client{Model: i, Planner: planner, Late: slo.LateRule(i), AllFirst: i == 1, Missing: []float64{0, 0.1},
			Load: workload.Load{Process: workload.Poisson, Rate: workload.Steady(250, 2*time.Second), Seed: seed, Client: uint64(i),
				Sizes:     workload.Sizes{Low: 1, High: 12},
				Floors:    workload.Spread{Low: 0.85, High: 0.995},
				Deadlines: workload.Spread{Low: 0.01, High: 0.1}}})
	}
	p.jobs = slices.Collect(sim.Arrivals(clients))
	for i := range p.jobs {
		if i%11 == 0 {
			p.jobs[i].Cancel = p.jobs[i].At.Add(time.Duration(1_000_000 + 7919*i))
		}
	}
	return p
}

// mark identifies a batch by its first item, because an item runs once, and once more
// after a gate, see second.
func mark(job sched.JobID, item int) uint32 { return uint32(job)<<8 | uint32(item) }

// second is the mark of a second run.
func second(mark uint32) uint32 { return mark | 1<<31 }

// fate returns what happens to a batch in addition to the profiled time. Odd
// nanoseconds keep all events apart, because the engine does not order events of one
// instant.
func (p parity) fate(mark uint32) (extra time.Duration, failed bool) {
	x := rand.New(rand.NewPCG(p.seed, uint64(mark))).Uint64()
	extra = time.Duration(x % 1_000_033)
	if x%7 == 0 {
		extra *= 60 // a stall, which the profile does not predict
	}
	return extra, x%29 == 0
}

// aborting returns how long a batch takes to abort: different for each batch, and less
// than its remaining time.
func (p parity) aborting(mark uint32) time.Duration { return time.Duration(1 + mark%97) }

// slowToAbort is a runtime whose instances take a while to abort a batch.
type slowToAbort struct {
	runtime.Runtime
	parity
}

// Load implements runtime.Runtime.
func (r slowToAbort) Load(ctx context.Context, m *modelpkg.Model, opts runtime.Options) (runtime.Instance, error) {
	instance, err := r.Runtime.Load(ctx, m, opts)
	return slowInstance{instance, r}, err
}

type slowInstance struct {
	runtime.Instance
	slowToAbort
}

// Run implements runtime.Instance.
func (s slowInstance) Run(ctx context.Context, variant int, items []runtime.Item) ([]tensor.Tensor, error) {
	outputs, err := s.Instance.Run(ctx, variant, items)
	if ctx.Err() != nil {
		time.Sleep(s.aborting(binary.LittleEndian.Uint32(items[0][0])))
	}
	return outputs, err
}

// Keeps implements runtime.Staged.
func (s slowInstance) Keeps(variant int) bool { return runtime.Keeps(s.Instance, variant) }

// RunStages implements runtime.Staged.
func (s slowInstance) RunStages(ctx context.Context, part runtime.Part) (outputs, kept []tensor.Tensor, err error) {
	outputs, kept, err = s.Instance.(runtime.Staged).RunStages(ctx, part)
	if ctx.Err() != nil {
		first := binary.LittleEndian.Uint32(part.Items[0][0])
		if part.Given != nil {
			first = second(first)
		}
		time.Sleep(s.aborting(first))
	}
	return outputs, kept, err
}

// simulated returns the simulator's trace for the arrivals that the engine's core saw.
func (p parity) simulated(t *testing.T, arrivals []sim.Arrival) []string {
	t.Helper()
	cfg := sim.Config{Instances: slices.Repeat([]sim.Instance{{Slots: p.slots}}, p.instances), Seed: p.seed, Check: true, Core: sched.Config{Policy: p.policy, QueueItemsMax: 1000, QueueJobsMax: 500}}
	for _, s := range p.served {
		planner, _, err := engine.Routed(s)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Core.Models = append(cfg.Core.Models, sched.Model{Name: s.Model.Name, Planner: planner, BatchItemsMax: s.Model.Limits.BatchItemsMax})
	}
	if p.far {
		cfg.Instances = append(cfg.Instances, sim.Instance{Class: 1, Slots: p.slots})
		cfg.Core.Models[0].Classes = []sched.Residence{{Variants: 1}, {Variants: 2}}
		cfg.Core.Models[1].Classes = []sched.Residence{{Variants: 1<<len(p.served[1].Model.Variants) - 1}}
	}
	cfg.Gate = func(d sched.Dispatch, route int, job sched.JobID, item int) sched.Verdict {
		m := p.served[d.Model].Model
		if m.Gates != nil {
			if to := chosen(m, parityItem(job, item)); to != m.Gates[0].Variant {
				return sched.Next(to)
			}
			return sched.Accept
		}
		row := fake.Row(m, 0, d.Variant, parityItem(job, item))
		if goesOn(row) {
			return sched.Next(cfg.Core.Models[d.Model].Planner.Routes()[route].Next[0].Route)
		}
		return sched.Accept
	}
	marks := map[sched.BatchID]uint32{}
	cfg.Batch = func(d sched.Dispatch) (time.Duration, bool) {
		marks[d.Batch] = mark(d.Parts[0].Job, d.Parts[0].First)
		items := 0
		for _, part := range d.Parts {
			items += part.Count
		}
		profile := p.served[d.Model].Profile
		if d.Variant == len(profile.Variants) { // what is left of both
			marks[d.Batch] = second(marks[d.Batch])
			extra, failed := p.fate(marks[d.Batch])
			return fake.Latency(profile.Stages[1].Batches, items) + fake.Latency(profile.Stages[3].Batches, items) + extra, failed
		}
		extra, failed := p.fate(marks[d.Batch])
		return fake.Latency(profile.Variants[d.Variant].Batches, items) + extra, failed
	}
	cfg.Abort = func(a sched.Abort) time.Duration { return p.aborting(marks[a.Batch]) }
	var lines []string
	if _, err := sim.Run(cfg, slices.Values(arrivals), func(at slo.Instant, what any) {
		lines = append(lines, fmt.Sprintf("%d %T%+v", at, what, what))
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// engine returns the engine's trace on the fake runtime, in virtual time, with its
// arrivals and cancellations. The core's deadlines are a little earlier than the
// clients'.
func (p parity) engine(t *testing.T) (lines []string, arrivals []sim.Arrival) {
	t.Helper()
	warm := false
	cfg := engine.Config{Models: p.served, Policy: p.policy, Instances: p.instances, Threads: 1, QueueItemsMax: 1000, QueueJobsMax: 500,
		Log: slog.New(slog.DiscardHandler), Trace: func(now slo.Instant, event sched.Event, actions []sched.Action) {
			if event == (sched.Drain{}) {
				return // the simulation just ends
			}
			switch e := event.(type) {
			case sched.Arrive:
				arrivals = append(arrivals, sim.Arrival{At: now, Arrive: e})
			case sched.Cancel:
				arrivals[e.Job-1].Cancel = now // the engine counts jobs from 1
			}
			lines = append(lines, fmt.Sprintf("%d %T%+v", now, event, event))
			for _, a := range actions {
				if d, ok := a.(sched.Dispatch); ok {
					d.Why = nil // the simulator was not asked for it
					a = d
				}
				lines = append(lines, fmt.Sprintf("%d %T%+v", now, a, a))
			}
		}}
	var profiles []*modelpkg.Profile
	for _, s := range p.served {
		profiles = append(profiles, s.Profile)
	}
	rt := fake.New(fake.Config{Profiles: profiles, Slots: p.slots, Fail: func(r fake.Run) error {
		if !warm {
			return nil
		}
		first := binary.LittleEndian.Uint32(r.Items[0][0])
		if len(r.Stages) == 2 && r.Variant == 1 {
			first = second(first)
		}
		extra, failed := p.fate(first)
		select {
		case <-time.After(extra):
		case <-r.Context.Done():
			return slo.E("parity", slo.KindCancelled, "%w", r.Context.Err())
		}
		if failed {
			// After an error of this kind the engine does not run the parts separately,
			// which the simulator does not model.
			return slo.E("parity", slo.KindUnavailable, "as drawn")
		}
		return nil
	}})
	e, err := engine.New(t.Context(), cfg, slowToAbort{rt, p})
	if err != nil {
		t.Fatal(err)
	}
	warm = true
	p.offer(e)
	drain(t, e)
	if n := e.KeptBytes(); n != 0 {
		t.Errorf("%d bytes are still kept", n)
	}
	return lines, arrivals
}

// parityItem is an item of a job.
func parityItem(job sched.JobID, item int) runtime.Item {
	return runtime.Item{binary.LittleEndian.AppendUint32(nil, mark(job, item)), make([]byte, 1)}
}

// offer calls the engine at the jobs' times and waits for all answers.
func (p parity) offer(e *engine.Engine) {
	var wg sync.WaitGroup
	for i, a := range p.jobs {
		time.Sleep(time.Duration(a.At - e.Now()))
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if a.Cancel > 0 {
				defer time.AfterFunc(time.Duration(a.Cancel-a.At), cancel).Stop()
			}
			list := make([]runtime.Item, a.Items)
			for item := range list { // as the engine numbers jobs: from 1, in order
				list[item] = parityItem(sched.JobID(i+1), item)
			}
			// The trace shows how it ends.
			r := engine.Request{Modalities: a.Present, Items: list, Objective: a.Objective}
			if a.Items > 2 {
				r.Mixed = []slo.Carried{{Items: 1, Present: a.Present}, {Items: a.Items - 2, Present: a.Present & 1}, {Items: 1, Present: a.Present}}
			}
			_, _ = e.Infer(ctx, p.served[a.Model].Model.Name, "", r)
		})
	}
	wg.Wait()
}

// TestEngineAndSimulatorAgree checks I-12: the same load through the engine, in virtual
// time, and through the simulator gives the same events and actions, in the same order,
// at the same nanoseconds. In some, a variant runs on another server.
func TestEngineAndSimulatorAgree(t *testing.T) {
	for policy := range plan.Policies() {
		t.Run(plan.Policy(policy).String(), func(t *testing.T) {
			var traces []string
			for seed := range uint64(5) {
				p := newParity(t, plan.Policy(policy), seed+1, false)
				synctest.Test(t, func(t *testing.T) {
					got, arrivals := p.engine(t)
					traces = append(traces, compare(t, got, p.simulated(t, arrivals)))
				})
			}
			whole := strings.Join(traces, "\n")
			for _, kind := range []string{"sched.Tick", "sched.Cancel", "sched.Abort", "sched.GiveUp", "Mixed:[{", "Failed:true",
				"Outcome:late", "Outcome:shed", "Outcome:infeasible", "Instance:3 Model:0 Variant:1"} {
				if !strings.Contains(whole, kind) {
					t.Errorf("the load has no %s", kind)
				}
			}
		})
	}
}

// compare returns the common trace.
func compare(t *testing.T, got, want []string) string {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("line %d: the engine has ended; the simulator: %s", i, want[i])
		case i >= len(want):
			t.Fatalf("line %d: the simulator has ended; the engine: %s", i, got[i])
		case got[i] != want[i]:
			t.Fatalf("line %d of %d:\nengine    %s\nsimulator %s", i, len(want), got[i], want[i])
		}
	}
	return strings.Join(want, "\n")
}
