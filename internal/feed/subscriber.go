package feed

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
)

const (
	// pause is how long a subscriber rests after it has emptied its queue, unless it is
	// asked a question. So a busy core wakes it at most a thousand times per second,
	// and not with each step.
	pause = time.Millisecond
	// pauseShare: a resting subscriber is woken when its queue is full to one part in
	// pauseShare.
	pauseShare = 8
	// stretch is how many steps are processed before other goroutines get the
	// processor. The observer needs about 30 microseconds for them.
	stretch = 64
	// entriesKept is the room, in steps and in actions, that a queue always keeps. A
	// larger queue is freed if a part in entriesShare of it was enough.
	entriesKept  = 4096
	entriesShare = 8
)

// Subscriber follows a feed. Only its own goroutine calls Run; Ask, Flush and Dropped
// are safe for concurrent use.
type Subscriber struct {
	name    string
	bound   int
	catchUp func()
	wake    chan struct{}
	ended   chan struct{} // closed when Run has returned
	dropped atomic.Uint64
	rouse   bool // owned by the publisher: wake the subscriber

	mu      sync.Mutex
	waiting lot
	state   state
	gap     bool // steps are dropped until Resume
	asked   bool // for a snapshot: everything before the gap has been processed
	closed  bool
}

// state is what the subscriber's goroutine is doing.
type state uint8

const (
	working state = iota
	resting       // for a moment; publishing does not wake it
	asleep        // until it is woken
)

// lot is what a subscriber takes from its queue at once. The snapshot comes before the
// steps, the questions after them.
type lot struct {
	snapshot  *Snapshot
	steps     []Step
	actions   []sched.Action // of all steps, one after the other
	questions []func()
}

func (l *lot) empty() bool { return l.snapshot == nil && len(l.steps) == 0 && len(l.questions) == 0 }

// add copies a step.
func (l *lot) add(step *Step) {
	from := len(l.actions)
	l.actions = append(l.actions, step.Actions...)
	l.steps = append(l.steps, *step)
	l.steps[len(l.steps)-1].Actions = l.actions[from:len(l.actions):len(l.actions)]
}

// clear empties the lot and keeps its memory for the next one.
func (l *lot) clear() {
	*l = lot{steps: emptied(l.steps), actions: emptied(l.actions), questions: emptied(l.questions)}
}

// emptied returns an empty list with the same memory, or nil if that is too large.
func emptied[T any](list []T) []T {
	clear(list)
	if cap(list) > max(entriesKept, entriesShare*len(list)) {
		return nil
	}
	return list[:0]
}

// Run passes steps to h until the feed is closed.
func (s *Subscriber) Run(h Handler) {
	defer close(s.ended)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var l lot
	for s.take(&l) {
		if l.snapshot != nil {
			h.Resume(l.snapshot)
		}
		for i := range l.steps {
			if i%stretch == stretch-1 {
				runtime.Gosched()
			}
			h.Step(&l.steps[i])
		}
		for _, answer := range l.questions {
			answer()
		}
		l.clear()
		s.rest(timer)
	}
}

// take waits until the queue has something and takes all of it. It returns false if the
// queue is empty and closed.
func (s *Subscriber) take(l *lot) bool {
	for {
		s.mu.Lock()
		if s.ready() {
			*l, s.waiting = s.waiting, *l
			if s.gap && !s.closed { // questions wait for the snapshot
				l.questions, s.waiting.questions = s.waiting.questions, l.questions
			}
			s.mu.Unlock()
			return !l.empty()
		}
		s.state = asleep
		ask := s.gap && !s.asked
		s.asked = s.gap
		s.mu.Unlock()
		if ask {
			s.catchUp()
		}
		<-s.wake
		s.mu.Lock()
		s.state = working
		s.mu.Unlock()
	}
}

// ready reports whether there is something to take.
func (s *Subscriber) ready() bool {
	return s.closed || s.waiting.snapshot != nil || len(s.waiting.steps) > 0 || len(s.waiting.questions) > 0 && !s.gap
}

// rest waits a moment so that steps gather, unless there is something urgent.
func (s *Subscriber) rest(timer *time.Timer) {
	s.mu.Lock()
	if s.gap || s.urgent() {
		s.mu.Unlock()
		return
	}
	s.state = resting
	s.mu.Unlock()
	timer.Reset(pause)
	select {
	case <-timer.C:
	case <-s.wake:
	}
	s.mu.Lock()
	s.state = working
	s.mu.Unlock()
}

// urgent reports whether the queue has something that should not wait for the end of a
// pause.
func (s *Subscriber) urgent() bool {
	return s.closed || s.waiting.snapshot != nil || len(s.waiting.questions) > 0 || s.entries() > s.bound/pauseShare
}

// entries returns the size that counts against the bound.
func (s *Subscriber) entries() int { return len(s.waiting.steps) + len(s.waiting.actions) }

// signal wakes the subscriber's goroutine, or stops it from falling asleep.
func (s *Subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// put adds a step to the queue, or drops it.
func (s *Subscriber) put(step *Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := s.entries()
	s.gap = s.gap || entries > 0 && entries+1+len(step.Actions) > s.bound // a single step may be larger
	if s.gap {
		s.dropped.Add(1)
		return
	}
	s.waiting.add(step)
	if s.state == asleep || s.state == resting && s.urgent() {
		s.state, s.rouse = working, true
	}
}

// caughtUp reports whether the subscriber waits only for a snapshot.
func (s *Subscriber) caughtUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap && s.asked
}

// resume ends a gap.
func (s *Subscriber) resume(now *Snapshot) {
	s.mu.Lock()
	s.waiting.snapshot, s.gap, s.asked = now, false, false
	s.mu.Unlock()
	s.signal()
}

// ask adds a question to the queue. It returns false if no more questions are answered.
func (s *Subscriber) ask(question func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.waiting.questions = append(s.waiting.questions, question)
	s.signal()
	return true
}

func (s *Subscriber) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

// Ask calls question in the subscriber's goroutine, once everything published before
// has been processed, or skipped in a gap, and waits for it. It returns false if the
// feed has ended; then question is not called.
func (s *Subscriber) Ask(question func()) bool {
	answered := make(chan struct{})
	if !s.ask(func() { defer close(answered); question() }) {
		return false
	}
	<-answered
	return true
}

// Flush waits until everything published before has been processed, until the feed has
// ended, or until ctx ends.
func (s *Subscriber) Flush(ctx context.Context) {
	handled := make(chan struct{})
	if !s.ask(func() { close(handled) }) {
		return
	}
	select {
	case <-handled:
	case <-ctx.Done():
	}
}
