// Package feed publishes the steps of a core to subscribers, outside the goroutine that
// owns the core. Each subscriber has a bounded queue and a goroutine of its own.
// Publishing never waits for a subscriber: a step that finds no room in its queue is
// dropped and counted, and once the subscriber has caught up, it continues from a
// snapshot of the unfinished work. A question to a subscriber passes through its queue,
// so the answer includes everything published before.
package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Step is one step of a core, with facts that only its driver knows.
type Step struct {
	At      slo.Instant
	Event   sched.Event
	Actions []sched.Action
	Took    time.Duration // the time that the core computed
	// For an arriving job: the client's own name for the request, and the client's
	// name. Either may be empty.
	Request, Client string
	Model           *Model // for Serve and Replan
	// Confidence is, for the Done of a batch with gates, the confidence of the answers
	// that gates have judged, by item of the batch; NaN for the others. Nil: none.
	Confidence []float64
	// Primaries is, for the Done of a batch of a model with weights of its modalities, the
	// modality that each item's answer depends on most, by item of the batch; -1 for none.
	Primaries []int
}

// Model describes a served model, as its driver knows it. It does not change.
type Model struct {
	Name       string
	Version    string
	Digest     string
	Modalities []string // in the order of their bits
	Planner    *plan.Planner
	Scale      []float64 // as in sched.Model

	origin *Model // as first served; nil: this one
}

// Replanned describes the model with other accuracies.
func (m *Model) Replanned(p *plan.Planner) *Model {
	other := *m
	other.Planner, other.origin = p, m.Origin()
	return &other
}

// Origin returns the model as it was first served. It tells whether two descriptions are
// of the same deployment.
func (m *Model) Origin() *Model {
	if m.origin == nil {
		return m
	}
	return m.origin
}

// Snapshot is the state of a core at one instant: enough to follow the core from there.
// Subscribers share it and must not change it.
type Snapshot struct {
	record.Snapshot
	At        slo.Instant
	Models    map[int]*Model // served models, by number
	Instances []Instance     // all of them
	Draining  bool
}

// Instance is the state of an instance.
type Instance struct {
	ID    sched.InstanceID
	Up    bool
	Slots int // 0 while it is down
}

// Handler processes steps. The feed calls it in the subscriber's goroutine.
type Handler interface {
	// Resume is called first, and again after steps were dropped: the next steps
	// continue from the snapshot.
	Resume(s *Snapshot)
	// Step is called for each step, in order. The step and its Actions are valid until
	// Step returns. What the event and the actions refer to does not change.
	Step(s *Step)
}

// Feed is where the goroutine that owns a core publishes its steps. Only that goroutine
// may call Publish, Wake and Resume, after all calls of Subscribe. Use New.
type Feed struct {
	catchUp     func()
	subscribers []*Subscriber
}

// New returns a feed. It calls catchUp, from any goroutine, when a subscriber needs a
// snapshot to continue. The owner of the core must then call Resume soon. catchUp may
// wait for that goroutine.
func New(catchUp func()) *Feed { return &Feed{catchUp: catchUp} }

// Subscribe adds a subscriber whose queue holds at most bound events and actions
// together. Its Run must be called. It gets everything from the next Resume on.
func (f *Feed) Subscribe(name string, bound int) *Subscriber {
	s := &Subscriber{name: name, bound: bound, catchUp: f.catchUp, gap: true, asked: true, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.subscribers = append(f.subscribers, s)
	return s
}

// Publish adds a step to each subscriber's queue. The Actions are copied; what they and
// the event refer to must not change any more. Subscribers may stay asleep until Wake
// is called, unless they are asked a question.
func (f *Feed) Publish(step *Step) {
	for _, s := range f.subscribers {
		s.put(step)
	}
}

// Wake wakes the subscribers to process what was published. It is separate from Publish
// because waking a goroutine takes time, and the step's actions should not wait for
// that.
func (f *Feed) Wake() {
	for _, s := range f.subscribers {
		if s.rouse {
			s.rouse = false
			s.signal()
		}
	}
}

// Resume ends the gap of every subscriber that has caught up with its queue and missed
// steps. All of them get the same snapshot.
func (f *Feed) Resume(snapshot func() Snapshot) {
	var now *Snapshot
	for _, s := range f.subscribers {
		if !s.caughtUp() {
			continue
		}
		if now == nil {
			state := snapshot()
			now = &state
		}
		s.resume(now)
	}
}

// Dropped returns how many steps each subscriber has missed, by name. It is safe for
// concurrent use.
func (f *Feed) Dropped() map[string]uint64 {
	dropped := make(map[string]uint64, len(f.subscribers))
	for _, s := range f.subscribers {
		dropped[s.name] = s.dropped.Load()
	}
	return dropped
}

// Close ends the feed: nothing may be published any more. It waits until the
// subscribers have processed their queues, or ctx ends; the error then names those that
// have not.
func (f *Feed) Close(ctx context.Context) error {
	for _, s := range f.subscribers {
		s.close()
	}
	var late []error
	for _, s := range f.subscribers {
		select {
		case <-s.ended:
		case <-ctx.Done():
			select {
			case <-s.ended:
			default:
				late = append(late, fmt.Errorf("subscriber %s of the core's steps has not processed its queue: %w", s.name, ctx.Err()))
			}
		}
	}
	return errors.Join(late...)
}
