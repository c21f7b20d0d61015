package replay

import (
	"cmp"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
)

// WindowsMax bounds the windows of a timeline.
const WindowsMax = 10_000

// Window is what happened to the jobs that were meant to be sent in a part of a run. It is
// written as JSON; docs/replay.md describes every field.
type Window struct {
	From        float64        `json:"from_seconds"`
	To          float64        `json:"to_seconds"`
	Shifted     bool           `json:"shifted"`
	Items       int            `json:"items"`    // offered
	Answered    int            `json:"answered"` // with a result, on time or late
	Expected    float64        `json:"expected"` // mean of the expected accuracies in the answers
	ExpectedLow float64        `json:"expected_low,omitempty"`
	Measured    float64        `json:"measured"`
	Low         float64        `json:"low"` // of its 95 % interval
	High        float64        `json:"high"`
	Scored      int            `json:"scored"`          // items; 0 where nothing was measured
	Infeasible  int            `json:"infeasible"`      // items refused because no variant keeps the floor
	Missed      int            `json:"missed"`          // items without a result for another reason
	Variants    []VariantItems `json:"variants"`        // most items first
	Phase       string         `json:"phase,omitempty"` // of the phases: before, during, after
}

// Timeline is a run over time, the warm-up included.
type Timeline struct {
	Window  float64  `json:"window_seconds"`
	Windows []Window `json:"windows"` // those with items
	Phases  []Window `json:"phases"`  // before, during and after the shifts; none without shifts
	// RefusedFrom is when the first job was sent that was refused because no variant keeps
	// its floor; nil: none was.
	RefusedFrom *float64 `json:"refused_from_seconds,omitempty"`
}

// Timeline divides the run into windows. The bounds of shifts are bounds of windows too, so
// no window has items of both kinds. width is positive; there are at most WindowsMax
// windows, so a longer run has wider ones.
func (l *Log) Timeline(width time.Duration, shifted *Shifted) *Timeline {
	end := time.Duration(0) // of what was sent
	t := &Timeline{Windows: []Window{}, Phases: []Window{}}
	for i, job := range l.jobs {
		if !l.records[i].sent {
			continue
		}
		end = job.At + 1
		if l.records[i].outcome == slo.Infeasible && t.RefusedFrom == nil {
			at := job.At.Seconds()
			t.RefusedFrom = &at
		}
	}
	width = max(width, end/WindowsMax)
	t.Window = width.Seconds()
	var bounds []time.Duration
	for at := time.Duration(0); at < end; at += width {
		bounds = append(bounds, at)
	}
	bounds = append(bounds, time.Duration(len(bounds))*width)
	if shifted != nil {
		bounds = append(bounds, shifted.bounds(bounds[len(bounds)-1])...)
		t.Phases = l.phases(bounds[len(bounds)-1], shifted)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	for i := 1; i < len(bounds); i++ {
		w := l.Between(bounds[i-1], bounds[i])
		if w.Shifted = shifted.During(bounds[i-1]); w.Items > 0 {
			t.Windows = append(t.Windows, w)
		}
	}
	return t
}

// bounds are the instants at which the shifts begin and end, and end, if they are before
// it.
func (s *Shifted) bounds(end time.Duration) (bounds []time.Duration) {
	for _, at := range []time.Duration{s.From, s.Until} {
		if at > 0 && at < end {
			bounds = append(bounds, at)
		}
	}
	return append(bounds, end)
}

// phases are the windows before, during and after the shifts that have items.
func (l *Log) phases(end time.Duration, shifted *Shifted) []Window {
	phases := []Window{}
	from := time.Duration(0)
	for _, to := range shifted.bounds(end) {
		w := l.Between(from, to)
		w.Shifted = shifted.During(from)
		switch {
		case w.Shifted:
			w.Phase = "during"
		case from < shifted.From:
			w.Phase = "before"
		default:
			w.Phase = "after"
		}
		if w.Items > 0 {
			phases = append(phases, w)
		}
		from = to
	}
	return phases
}

// Between returns what happened to the jobs that were meant to be sent from one instant of
// the run until another.
func (l *Log) Between(from, to time.Duration) Window {
	w := Window{From: from.Seconds(), To: to.Seconds()}
	var expected, low slo.Score
	var answers tally
	lowKnown := true
	ran := map[string]int{}
	first, _ := slices.BinarySearchFunc(l.jobs, from, func(j Job, at time.Duration) int { return cmp.Compare(j.At, at) })
	for i := first; i < len(l.jobs) && l.jobs[i].At < to; i++ {
		job, rec := l.jobs[i], l.records[i]
		if !rec.sent {
			continue
		}
		n := len(job.Samples)
		w.Items += n
		switch {
		case rec.outcome == slo.Infeasible:
			w.Infeasible += n
		case !rec.outcome.Ran():
			w.Missed += n
		default:
			w.Answered += n
			expected += rec.expected.Times(n)
			low += rec.low.Times(n)
			lowKnown = lowKnown && rec.low > 0
			for _, v := range l.mix(i) {
				ran[v.Variant] += v.Items
			}
			for k, sample := range job.Samples {
				if rec.scored {
					answers.add(sample, float64(l.scores[job.First+k]))
				}
			}
		}
	}
	mean, scored := answers.interval()
	w.Measured, w.Low, w.High, w.Scored = mean.mean, mean.low, mean.high, scored
	w.Expected, w.Variants = expected.Mean(w.Answered).Float(), mostFirst(ran)
	if lowKnown {
		w.ExpectedLow = low.Mean(w.Answered).Float()
	}
	return w
}
