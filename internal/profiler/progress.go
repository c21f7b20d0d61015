package profiler

import "time"

// Progress is the progress of a profile.
type Progress struct {
	Stage string        // "memory", "accuracy", "latency"
	Share float64       // of the whole, 0 to 1, never falling
	Left  time.Duration // estimated; 0 while too little is known
}

// scoutShare is the assumed share of the first look at the variants in the whole, until
// it has shown how long the rest will take.
const scoutShare = 0.05

// From so much time, and so much of the whole, the time that is left is estimated: the first
// batches take longer than later ones, and the clock began before them.
const (
	evidenceTime  = 5 * time.Second
	evidenceShare = 0.005
)

// meter estimates the total time from the first run of every batch size.
type meter struct {
	total, done time.Duration // estimates, by the first runs
	share       float64       // reached
	start       time.Time     // start of the estimated part
}

// plan sets the number of timed runs and adds up their estimated time.
func (r *run) plan() {
	var round time.Duration
	last := len(r.o.Batches) - 1
	for _, c := range r.cells() {
		round += c.visit()
	}
	for v, cells := range r.timings {
		if _, known := r.samples.Variants[r.m.Variants[v].Declared()]; !known && !r.m.Scoring.External() {
			for _, group := range r.groups[v].own {
				batches := (len(group) + r.o.Batches[last] - 1) / r.o.Batches[last]
				r.meter.total += time.Duration(batches) * cells[last].first
			}
		}
	}
	if r.o.Timed == nil {
		r.trials = max(r.o.Trials, min(TrialsMax, int(r.o.Budget/round)))
		r.meter.total += time.Duration(r.o.Warmup+r.trials) * round
	}
	r.meter.start = time.Now()
}

// advance counts one batch with its estimated time.
func (m *meter) advance(r *run, stage string, estimate time.Duration) {
	m.done += estimate
	share := max(m.share, min(1, float64(m.done)/float64(m.total)))
	m.share = share
	left := time.Duration(0)
	if took := time.Since(m.start); took >= evidenceTime && share >= evidenceShare {
		left = time.Duration(float64(took) * (1 - share) / share)
	}
	r.report(Progress{Stage: stage, Share: scoutShare + (1-scoutShare)*share, Left: left})
}

func (r *run) report(p Progress) {
	if r.o.Progress != nil {
		r.o.Progress(p)
	}
}
