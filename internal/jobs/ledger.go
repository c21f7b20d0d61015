package jobs

import (
	"cmp"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// ledger is the state of the chunks of a job: which are stored, which run, what they
// score. It reads no clock.
//
// The floor of a chunk is what the job's items without a result must still score on
// average: for a floor F, N items of which X failed, a stored score S, and running
// chunks of n items with floor f each,
//
//	(F*(N-X) - S - sum f*n) / (items that neither are stored nor run), rounded up.
//
// A chunk that runs scores at least f on each item that it answers. So the quotient
// never grows: it is at most F, and if it was feasible at the start it stays so. When
// all chunks are stored, S >= F*(N-X), which is the job's floor. With a confidence, every
// chunk has the job's floor: bounds of means cannot be added up.
type ledger struct {
	spec     *Spec
	stored   []bool               // by chunk
	running  map[int]slo.Accuracy // by chunk: its floor
	chunks   int                  // stored
	items    int                  // of stored chunks
	answered int
	failed   int
	why      string // the first of them failed
	score    slo.Score
	ran      map[string]int
	bytes    int // of the results
}

func newLedger(s *Spec) *ledger {
	return &ledger{spec: s, stored: make([]bool, s.chunks()), running: map[int]slo.Accuracy{}, ran: map[string]int{}}
}

// full reports whether all chunks are stored.
func (l *ledger) full() bool { return l.chunks == len(l.stored) }

// store takes a chunk that is in the store.
func (l *ledger) store(k int, c *commit) {
	delete(l.running, k)
	if l.stored[k] {
		return
	}
	_, items := l.spec.chunk(k)
	l.stored[k] = true
	l.chunks++
	l.items += items
	l.answered += c.Answered
	l.failed += c.Failed
	l.why = cmp.Or(l.why, c.Why)
	l.score += c.Score
	l.bytes += c.Blob.Bytes
	for name, n := range c.Ran {
		l.ran[name] += n
	}
}

// release takes back a chunk that has no result.
func (l *ledger) release(k int) { delete(l.running, k) }

// next returns the first chunk that is neither stored nor running, which then runs.
func (l *ledger) next(now time.Time) (c Chunk, ok bool) {
	for k, stored := range l.stored {
		if _, runs := l.running[k]; stored || runs {
			continue
		}
		c = Chunk{Index: k, Floor: l.floor(), Confidence: l.spec.Confidence}
		c.First, c.Items = l.spec.chunk(k)
		c.Deadline = l.deadline(now, c.Items)
		l.running[k] = c.Floor
		return c, true
	}
	return Chunk{}, false
}

// runningItems is the number of items of running chunks.
func (l *ledger) runningItems() (n int) {
	for k := range l.running {
		_, items := l.spec.chunk(k)
		n += items
	}
	return n
}

// floor is that of the next chunk.
func (l *ledger) floor() slo.Accuracy {
	left := l.spec.Items - l.items - l.runningItems()
	if l.spec.Confidence > 0 || left <= 0 {
		return l.spec.Floor
	}
	need := l.spec.Floor.Times(l.spec.Items-l.failed) - l.score
	for k, floor := range l.running {
		_, items := l.spec.chunk(k)
		need -= floor.Times(items)
	}
	if need <= 0 {
		return 0
	}
	return min(slo.Accuracy((need+slo.Score(left)-1)/slo.Score(left)), l.spec.Floor)
}

// deadline is when the next chunk, of n items, should be done: the time until the job's
// deadline is shared out over the items without a result, in their order. So a job
// spends no more time on the accuracy of its first chunks than its last ones will have.
func (l *ledger) deadline(now time.Time, n int) time.Time {
	left := l.spec.Deadline.Sub(now)
	if l.spec.Deadline.IsZero() || left <= 0 {
		return time.Time{}
	}
	share := float64(l.runningItems()+n) / float64(l.spec.Items-l.items)
	return now.Add(time.Duration(float64(left) * share))
}

// expected is what the answered items are expected to score on average.
func (l *ledger) expected() slo.Accuracy { return l.score.Mean(l.answered) }

// end is the record of a job that ends now.
func (l *ledger) end(state, reason string, now time.Time) end {
	return end{State: state, Reason: reason, Ended: now, Answered: l.answered, Failed: l.failed, Score: l.score, Ran: l.ran, Bytes: l.bytes}
}
