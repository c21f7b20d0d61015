// Package feed tells whoever follows a core of its steps, away from the goroutine
// that owns the core. Each subscriber has a queue with a bound and a goroutine of
// its own. Publishing never waits for a subscriber: what finds no room in its queue
// is dropped and counted, and once the subscriber has caught up it goes on from a
// snapshot of what is under way. A question to a subscriber passes through its
// queue, so that the answer knows all that was published before.
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

// Step is one step of a core, and what its driver knows beside the core.
type Step struct {
	At      slo.Instant
	Event   sched.Event
	Actions []sched.Action
	Took    time.Duration // how long the core computed
	// Of a job that arrives: the client's own name for the request, and who the
	// client is. Either may be empty.
	Request, Client string
	Model           *Model // of a Serve
}

// Model is what a driver knows of a model in service. It does not change.
type Model struct {
	Name       string
	Version    string
	Digest     string
	Modalities []string // in the order of their bits
	Planner    *plan.Planner
	Scale      []float64 // as in sched.Model
}

// Snapshot is what is under way at one instant: enough to follow the core from
// there on. Subscribers share it and must not change it.
type Snapshot struct {
	record.Snapshot
	At        slo.Instant
	Models    map[int]*Model // in service, by number
	Instances []Instance     // all there are
	Draining  bool
}

// Instance is the state of an instance.
type Instance struct {
	ID    sched.InstanceID
	Up    bool
	Slots int // 0 while it is down
}

// Handler is what a subscriber does. The feed calls it from the subscriber's
// goroutine.
type Handler interface {
	// Resume comes first, and again after steps have been dropped: what follows goes
	// on from the snapshot.
	Resume(s *Snapshot)
	// Step is called for each step, in order. The step and its Actions are valid
	// until Step returns; what the event and the actions refer to does not change.
	Step(s *Step)
}

// Feed is what the goroutine that owns a core publishes into. Publish, Wake and
// Resume are that goroutine's; Subscribe must come before them. Use New.
type Feed struct {
	catchUp     func()
	subscribers []*Subscriber
}

// New makes a feed. It calls catchUp, from any goroutine, when a subscriber needs
// a snapshot to go on: the owner of the core must then call Resume soon. CatchUp
// may wait for that goroutine.
func New(catchUp func()) *Feed { return &Feed{catchUp: catchUp} }

// Subscribe adds a subscriber whose queue holds so many events and actions
// together. Its Run must be called, and gets everything from the next Resume on.
func (f *Feed) Subscribe(name string, bound int) *Subscriber {
	s := &Subscriber{name: name, bound: bound, catchUp: f.catchUp, gap: true, asked: true, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.subscribers = append(f.subscribers, s)
	return s
}

// Publish puts a step into each subscriber's queue. The Actions are copied; what
// they and the event refer to must not change any more. The subscribers may sleep on
// until Wake is called, unless somebody asks them.
func (f *Feed) Publish(step *Step) {
	for _, s := range f.subscribers {
		s.put(step)
	}
}

// Wake lets the subscribers work on what was published. It is apart from Publish
// because waking a goroutine takes time that what follows from the step need not
// wait for.
func (f *Feed) Wake() {
	for _, s := range f.subscribers {
		if s.rouse {
			s.rouse = false
			s.signal()
		}
	}
}

// Resume lets every subscriber go on that has caught up with its queue and has
// missed what came after. All of them get the same snapshot.
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

// Dropped is how many steps each subscriber has missed, by its name. It is safe for
// concurrent use.
func (f *Feed) Dropped() map[string]uint64 {
	dropped := make(map[string]uint64, len(f.subscribers))
	for _, s := range f.subscribers {
		dropped[s.name] = s.dropped.Load()
	}
	return dropped
}

// Close ends the feed: nothing is published any more. It waits until the
// subscribers have worked off what is in their queues, or ctx ends; the error then
// names those that have not.
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
				late = append(late, fmt.Errorf("subscriber %s of the core's steps has not worked off its queue: %w", s.name, ctx.Err()))
			}
		}
	}
	return errors.Join(late...)
}
