package obs_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/record/recordtest"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// fitful gives an observer the steps of a simulation with gaps, and compares the
// unfinished work that the observer then reports with the truth.
type fitful struct {
	t        *testing.T
	rng      *rand.Rand
	observer *obs.Observer
	truth    recordtest.Unfinished
	models   map[int]*feed.Model
	fleet    map[sched.InstanceID]feed.Instance
	step     feed.Step
	gap      bool
	missed   int // steps since the gap began
	resumed  int
	jobs     int // that ended in gaps
}

// see is sim.Run's trace: an event, then its actions.
func (f *fitful) see(at slo.Instant, what any) {
	switch what := what.(type) {
	case sched.Event:
		f.flush()
		f.step = feed.Step{At: at, Event: what, Took: time.Microsecond}
	case sched.Action:
		f.step.Actions = append(f.step.Actions, what)
	}
}

// flush handles the completed step.
func (f *fitful) flush() {
	s := &f.step
	if s.Event == nil {
		return
	}
	f.truth.Step(s.At, s.Event, s.Actions)
	switch e := s.Event.(type) {
	case sched.InstanceUp:
		f.fleet[e.Instance] = feed.Instance{ID: e.Instance, Up: true, Slots: max(1, e.Slots)}
	case sched.InstanceResize:
		f.fleet[e.Instance] = feed.Instance{ID: e.Instance, Up: true, Slots: e.Slots}
	case sched.InstanceDown:
		f.fleet[e.Instance] = feed.Instance{ID: e.Instance}
	}
	if f.gap = f.gap && f.rng.IntN(30) > 0 || !f.gap && f.rng.IntN(30) == 0; f.gap {
		f.miss()
		return
	}
	resumes := f.missed > 0
	if resumes {
		f.miss()
		f.resume()
	} else {
		f.observer.Step(s)
	}
	if resumes || f.rng.IntN(10) == 0 {
		f.compare()
	}
}

// miss skips the step.
func (f *fitful) miss() {
	f.missed++
	for _, a := range f.step.Actions {
		if _, ok := a.(sched.FinishJob); ok {
			f.jobs++
		}
	}
}

func (f *fitful) resume() {
	snapshot := feed.Snapshot{Snapshot: f.truth.Snapshot(), At: f.step.At, Models: f.models}
	snapshot.Instances = slices.Collect(maps.Values(f.fleet))
	f.observer.Resume(&snapshot)
	f.missed = 0
	f.resumed++
}

// compare compares a status with the truth.
func (f *fitful) compare() {
	s := f.observer.Status(f.step.At)
	now := f.truth.Snapshot()
	for _, m := range s.Models {
		number := int(m.Name[1] - '0')
		if q := f.truth.Queue(number); q.Waiting != m.QueuedItems || q.Running != m.RunningItems || q.Jobs != m.UnfinishedJobs {
			f.t.Fatalf("of model %s there are %+v; the status: %+v", m.Name, q, m)
		}
	}
	var clients []sched.ClientID
	for _, j := range now.Jobs {
		if !slices.Contains(clients, j.Client) {
			clients = append(clients, j.Client)
		}
	}
	if s.Queue.Jobs != len(now.Jobs) || s.Queue.ClientsTotal != len(clients) {
		f.t.Fatalf("%d jobs of %d clients; the status: %+v", len(now.Jobs), len(clients), s.Queue)
	}
	running := map[uint64]int{}
	for _, b := range now.Batches {
		running[uint64(b.Dispatch.Batch)] = int(b.Instance)
	}
	for _, i := range s.Instances {
		if want := f.fleet[sched.InstanceID(i.ID)]; i.Up != want.Up || i.Slots != want.Slots || i.BusyShare < 0 {
			f.t.Fatalf("instance %+v, want %+v", i, want)
		}
		for _, r := range i.Running {
			if at, runs := running[r.Batch]; !runs || at != i.ID {
				f.t.Fatalf("batch %d does not run on instance %d", r.Batch, i.ID)
			}
			delete(running, r.Batch)
		}
	}
	if len(running) > 0 {
		f.t.Fatalf("batches %v run; the status: %+v", running, s.Instances)
	}
	for _, d := range s.Decisions {
		runs := slices.ContainsFunc(s.Instances, func(i status.Instance) bool {
			return slices.ContainsFunc(i.Running, func(r status.Running) bool { return r.Batch == d.Batch })
		})
		if (d.State == "running") != runs {
			f.t.Fatalf("batch %d is said to be %s, on an instance %v", d.Batch, d.State, runs)
		}
	}
}

// TestGaps runs random loads in the simulator with an observer that misses steps. It
// must know the unfinished work after every gap, miss only the jobs that ended in one,
// and have nothing left at the end.
func TestGaps(t *testing.T) {
	resumed := 0
	for seed := range uint64(4) {
		cfg, load := fleet(t, seed)
		for i := range cfg.Instances {
			cfg.Instances[i].Slots = 1 + i%3
		}
		registry := prometheus.NewRegistry()
		o, err := obs.New(obs.Config{Registerer: registry, Recent: 20})
		if err != nil {
			t.Fatal(err)
		}
		f := &fitful{t: t, rng: rand.New(rand.NewPCG(seed, 7)), observer: o, models: map[int]*feed.Model{}, fleet: map[sched.InstanceID]feed.Instance{}}
		for i, m := range cfg.Core.Models {
			f.models[i] = &feed.Model{Name: m.Name, Version: "1", Modalities: []string{"image", "text"}, Planner: m.Planner}
		}
		f.resume()
		stop := scraping(registry)
		report, err := sim.Run(cfg, load, f.see)
		f.flush()
		if f.missed > 0 {
			f.resume()
		}
		stop()
		if err != nil {
			t.Fatal(err)
		}
		got := gather(t, registry)
		jobs := 0.0
		for _, n := range got.jobs {
			jobs += n
		}
		if int(jobs)+f.jobs != report.Jobs.Total() || f.jobs == 0 || got.unfinished != 0 {
			t.Errorf("seed %d: %v jobs are counted, %d ended in gaps, there were %d; %v are unfinished", seed, jobs, f.jobs, report.Jobs.Total(), got.unfinished)
		}
		resumed += f.resumed
	}
	if resumed < 100 {
		t.Errorf("%d gaps: the test shows little", resumed)
	}
}

// TestGapOfModels checks that an observer learns from a snapshot which models have been
// added and removed, and that earlier explanations stay available.
func TestGapOfModels(t *testing.T) {
	o, err := obs.New(obs.Config{Recent: 8})
	if err != nil {
		t.Fatal(err)
	}
	model := func(version string) *feed.Model {
		return &feed.Model{Name: "m", Version: version, Modalities: []string{"image", "text"}, Planner: scriptPlanner(t)}
	}
	one, two, three := model("1"), model("2"), model("3")
	o.Resume(&feed.Snapshot{Models: map[int]*feed.Model{0: one, 1: two}})
	part := sched.Part{Job: 1, Count: 1}
	o.Step(&feed.Step{At: 1, Event: sched.Arrive{Job: 1, Items: 1, Present: 3, Model: 1, Objective: slo.Objective{Deadline: slo.Never}}, Request: "mine",
		Actions: []sched.Action{sched.Dispatch{Batch: 1, Model: 1, Parts: []sched.Part{part}}}})
	o.Step(&feed.Step{At: 2, Event: sched.Done{Batch: 1, Took: 1}, Actions: []sched.Action{sched.Finish{Part: part, Outcome: slo.OnTime}, sched.FinishJob{Job: 1, Outcome: slo.OnTime}}})
	o.Step(&feed.Step{At: 3, Event: sched.Arrive{Job: 2, Items: 1, Present: 3, Model: 1, Objective: slo.Objective{Deadline: slo.Never}}, Request: "gone",
		Actions: []sched.Action{sched.Dispatch{Batch: 2, Model: 1, Parts: []sched.Part{{Job: 2, Count: 1}}}}})
	late := sched.Arrive{Job: 3, Items: 1, Present: 3, Model: 1, Objective: slo.Objective{Deadline: slo.Never}}
	snapshot := feed.Snapshot{At: 9, Models: map[int]*feed.Model{1: three, 2: one}, Draining: true}
	snapshot.Jobs = append(snapshot.Jobs, record.Unfinished{Arrive: late, Arrived: 8, Left: 1, Request: "mine"})
	o.Resume(&snapshot)
	s := o.Status(10)
	var served []string
	for _, m := range s.Models {
		served = append(served, m.Version)
	}
	if !slices.Equal(served, []string{"3", "1"}) || !s.Server.Draining || s.Queue.Jobs != 1 {
		t.Errorf("served %v; %+v, %+v", served, s.Server, s.Queue)
	}
	if e, ok := o.Explain("1"); !ok || e.Version != "2" || e.Outcome != "on_time" {
		t.Errorf("the job before is %+v", e)
	}
	if _, ok := o.Explain("2"); ok {
		t.Error("a job that ended in the gap is explained")
	}
	if e, ok := o.Explain("3"); !ok || e.Version != "3" || e.Outcome != "queued" {
		t.Errorf("the job that waits is %+v", e)
	}
	if r := o.Requests("mine"); r.Total != 2 || r.Requests[0].Job != "3" || r.Requests[1].Job != "1" {
		t.Errorf("%+v", r)
	}
	if r := o.Requests("gone"); r.Total != 0 {
		t.Errorf("%+v", r)
	}
	if state := s.Decisions[0].State; state != "unknown" {
		t.Errorf("the batch that ended in the gap is %s", state)
	}
}
