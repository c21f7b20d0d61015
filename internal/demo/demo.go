// Package demo compares two policies with the same model, machine and load: "all",
// which runs all modalities, and "mosel", which chooses modalities per request. It
// finds the highest rate that each serves on time, measures accuracy with labels of
// held-out samples, and compares completion times under overload.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// The settings of the demonstration; docs/demo.md gives their reasons.
const (
	Budget         = 88 * time.Second // for everything, server starts included
	floorBelow     = 0.025            // the floor is the accuracy of all modalities minus this, or lower
	muchCheaper    = 0.5              // a variant that costs at most this share of all modalities is much cheaper
	onTimeTarget   = 0.99
	overloadFactor = 1.5
	probeLength    = 2 * time.Second
	probeWarmup    = 400 * time.Millisecond
	confirmLength  = 8 * time.Second
	confirmWarmup  = time.Second
	overloadLength = 5 * time.Second
	searchMax      = 33 * time.Second // more probing brings no better result
	hopelessAfter  = 0.4              // share of a trial's length before which it is not given up
	searchMin      = confirmLength + 3*probeLength + 4*trialSlack
	precision      = 1.05
	guessShare     = 0.9 // of the profile's throughput with full batches
	overheads      = 3 * time.Second
)

// What is compared: one of the first two with the last. Mixes is policy mosel without
// cascades.
const (
	All   = "all"
	Mixes = "mixes"
	ours  = "mosel"
)

// Serving is a model that is served with one policy.
type Serving struct {
	Send  replay.Send
	Infer func(ctx context.Context, job replay.Job) (*client.Response, error)
	// Watch returns a context that ends when the server ends, with the reason as its
	// cause.
	Watch func(ctx context.Context) (context.Context, context.CancelFunc)
	Stop  func() // returns when the server has ended
}

// Config configures Run.
type Config struct {
	Samples  *replay.Samples
	Profile  *modelpkg.Profile
	Serve    func(ctx context.Context, policy string) (*Serving, error)
	Deadline time.Duration // of every request
	Floor    slo.Accuracy  // of every request; 0: see defaultFloor
	// Confidence is that of the floor, as the servers know it; the search begins by it.
	Confidence slo.Confidence
	Against    string // what mosel is compared with: All (the default) or Mixes
	Seed       uint64
	Out        io.Writer         // for people
	Live       func(line string) // shows progress
}

// Result is what `mosel demo --json` writes; docs/demo.md describes it.
type Result struct {
	Format              int          `json:"format"`                // ResultFormat
	ThroughputRatio     float64      `json:"throughput_ratio"`      // confirmed rates: mosel / all
	JCTRatio            float64      `json:"jct_ratio"`             // mean completion times in overload: all / mosel
	Floor               float64      `json:"floor"`                 // min_accuracy of every request
	MeasuredAccuracy    float64      `json:"measured_accuracy"`     // of mosel, at its confirmed rate
	MeasuredAccuracyLow float64      `json:"measured_accuracy_low"` // lower end of its 95 % interval
	LateShare           float64      `json:"late_share"`            // items of that run not answered on time
	Model               string       `json:"model"`
	Metric              string       `json:"metric"`               // what accuracies are, in words
	Unmeasured          string       `json:"unmeasured,omitempty"` // why nothing was measured of the metric
	Device              string       `json:"device"`
	DeadlineMS          float64      `json:"deadline_ms"`
	OverloadRate        float64      `json:"overload_items_per_second"`
	Seconds             float64      `json:"seconds"`  // that the demonstration took
	Policies            []PolicyPart `json:"policies"` // all, mosel
}

// ResultFormat is the version of Result's JSON form.
const ResultFormat = 1

// PolicyPart is the result of one policy.
type PolicyPart struct {
	Policy    string        `json:"policy"`
	Rate      float64       `json:"items_per_second"` // the highest confirmed
	Confirmed replay.Report `json:"confirmed"`        // the run at that rate
	Overload  replay.Report `json:"overload"`         // the run at 1.5 times the rate of all, nothing dropped
}

// demonstration is one Run.
type demonstration struct {
	Config
	floor slo.Accuracy
	start time.Time
	runs  uint64 // so far; each has its own seed
	boot  time.Duration
}

// ErrTime says that the demonstration did not end within Budget.
var ErrTime = errors.New("the demonstration took too long")

// Run runs the demonstration. It ends within Budget and stops the servers that it
// started.
func Run(ctx context.Context, c Config) (*Result, error) {
	all, err := fullVariant(c.Samples.Model, c.Profile)
	if err != nil {
		return nil, err
	}
	floor := c.Floor
	if floor == 0 {
		if floor, err = defaultFloor(c.Profile, all); err != nil {
			return nil, err
		}
	}
	if c.Against == "" {
		c.Against = All
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Budget, ErrTime)
	defer cancel()
	d := &demonstration{Config: c, floor: floor, start: time.Now()}
	d.introduce()
	overload := 0.0
	single := throughput(cheapest(c.Samples.Model, c.Profile, d.floor, c.Confidence, all))
	guesses := map[string]float64{All: throughput(all), Mixes: single, ours: max(single, cascaded(c.Profile, d.floor, c.Confidence))}
	r := &Result{Format: ResultFormat, Floor: d.floor.Float(), Model: c.Samples.Model.Name,
		Metric: c.Samples.Model.Scoring.Title(), Unmeasured: c.Samples.Unmeasured(), Device: c.Profile.Device, DeadlineMS: stats.Milliseconds(c.Deadline)}
	for i, policy := range []string{c.Against, ours} {
		part, err := d.policy(ctx, policy, guesses[policy]*guessShare, func(rate float64) float64 {
			if i == 0 {
				overload = rate * overloadFactor
			}
			return overload
		})
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, fmt.Errorf("policy %s: %w", policy, err)
		}
		r.Policies = append(r.Policies, *part)
	}
	r.OverloadRate = overload
	r.Seconds = time.Since(d.start).Seconds()
	r.conclude()
	return r, nil
}

// conclude computes the comparison from the parts.
func (r *Result) conclude() {
	all, mosel := r.Policies[0], r.Policies[1]
	if all.Rate > 0 {
		r.ThroughputRatio = mosel.Rate / all.Rate
	}
	if mosel.Overload.JCT.Mean > 0 {
		r.JCTRatio = all.Overload.JCT.Mean / mosel.Overload.JCT.Mean
	}
	r.MeasuredAccuracy, r.MeasuredAccuracyLow = mosel.Confirmed.Accuracy.Measured, mosel.Confirmed.Accuracy.Low
	r.LateShare = mosel.Confirmed.Items.LateShare
}

// policy starts a server, shows a request, finds the policy's capacity and runs the
// overload.
func (d *demonstration) policy(ctx context.Context, policy string, guess float64, overload func(rate float64) float64) (*PolicyPart, error) {
	d.live("starting a server with policy %s", policy)
	began := time.Now()
	s, err := d.Serve(ctx, policy)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	d.boot = max(d.boot, time.Since(began))
	ctx, cancel := s.Watch(ctx)
	defer cancel()
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause // the end of the server is the reason for the error
		}
		return err
	}
	if err := d.show(ctx, policy, s); err != nil {
		return nil, fail(err)
	}
	part := &PolicyPart{Policy: policy}
	find := search{target: onTimeTarget, guess: guess, probe: probeLength, confirm: confirmLength, precision: precision,
		clock: time.Now}
	find.budget, find.limit = d.searchTime(policy)
	part.Rate, err = find.run(ctx, func(ctx context.Context, rate float64, length time.Duration) (float64, error) {
		o := offer{rate: rate, length: length, warmup: probeWarmup, target: onTimeTarget, name: fmt.Sprintf("policy %s: can it serve %.0f items/s?", policy, rate)}
		if length == confirmLength {
			o.warmup, o.name = confirmWarmup, fmt.Sprintf("policy %s: confirming %.0f items/s", policy, rate)
		}
		report, onTime, err := d.offer(ctx, s, o)
		part.Confirmed = report // the last one is the one that confirmed
		return onTime, err
	})
	if err != nil {
		return nil, fail(err)
	}
	rate := overload(part.Rate)
	part.Overload, _, err = d.offer(ctx, s, offer{rate: rate, length: overloadLength, late: slo.LateRun,
		name: fmt.Sprintf("policy %s: overload of %.0f items/s, nothing dropped", policy, rate)})
	if err != nil {
		return nil, fail(err)
	}
	return part, nil
}

// searchTime divides the time that is left between the steps. An overload run of policy
// all takes 1.5 times its length, and mosel's takes its length. If confirmations fail,
// a search may use all time except the least that the later steps need.
func (d *demonstration) searchTime(policy string) (budget, limit time.Duration) {
	left := Budget - time.Since(d.start) - overheads
	oursAfter := overloadLength + trialSlack
	if policy == ours {
		return min(searchMax, left-oursAfter), left - oursAfter
	}
	allAfter := time.Duration(overloadFactor*float64(overloadLength)) + trialSlack
	both := left - allAfter - d.boot - oursAfter
	return min(searchMax, max(both/2, searchMin)), both - searchMin
}

// offer is one run of load.
type offer struct {
	rate   float64
	length time.Duration
	warmup time.Duration
	late   slo.LateRule
	target float64 // share on time below which the run may be given up; 0: never
	name   string
}

// errHopeless ends a trial that can no longer reach its target.
var errHopeless = errors.New("too many items are not on time")

// offer sends load, and returns the report and the share of items on time. For a trial
// that was given up, the share counts the answers until then.
func (d *demonstration) offer(ctx context.Context, s *Serving, o offer) (report replay.Report, onTime float64, err error) {
	d.runs++
	w := replay.Workload{Process: replay.Poisson, Rate: o.rate, Duration: o.length, JobSize: 1, Floors: replay.Fixed(d.floor.Float()),
		Deadlines: replay.Fixed(d.Deadline.Seconds()), Late: o.late, Seed: d.Seed + d.runs}
	jobs, err := w.Jobs(d.Samples.Len(), d.Samples.Set.Sizes)
	if err != nil {
		return report, 0, err
	}
	trial, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	allowed := (1 - o.target) * o.rate * (o.length - o.warmup).Seconds()
	var last replay.Progress
	log := replay.Run(trial, jobs, s.Send, replay.Options{Concurrency: replay.ConcurrencyDefault, Warmup: o.warmup, Grace: replay.GraceDefault,
		Progress: func(p replay.Progress) {
			d.live("%s  %d sent, %.1f %% on time", o.name, p.Sent, 100*float64(p.Good)/float64(max(p.Done, 1)))
			if context.Cause(trial) == nil {
				last = p
			}
			if o.target > 0 && float64(p.Missed) > 1.5*allowed && float64(p.Elapsed) > hopelessAfter*float64(o.length) {
				giveUp(errHopeless)
			}
		}})
	if err := context.Cause(ctx); err != nil {
		return report, 0, err
	}
	report = log.Report()
	if report.Items.Failed > 0 && report.Items.OnTime == 0 {
		return report, 0, fmt.Errorf("every request failed: %s", report.Failures[0].Message)
	}
	if context.Cause(trial) != nil {
		return report, 1 - float64(last.Missed)/float64(max(last.Counted, 1)), nil
	}
	return report, report.Items.OnTimeShare, nil
}

// live shows the current step and how long it may still take.
func (d *demonstration) live(format string, args ...any) {
	left := max(0, Budget-time.Since(d.start)).Round(time.Second)
	d.Live(fmt.Sprintf(format, args...) + fmt.Sprintf("  (%v left at most)", left))
}

// fullVariant returns the profile of the variant with all modalities in full precision,
// which policy all runs.
func fullVariant(m *modelpkg.Model, p *modelpkg.Profile) (modelpkg.VariantProfile, error) {
	for _, v := range p.Variants {
		if len(v.Modalities) == len(m.Modalities) && v.Precision == "fp32" {
			return v, nil
		}
	}
	return modelpkg.VariantProfile{}, slo.E("demo "+m.Name, slo.KindInvalid, "the model has no fp32 variant with all modalities, which policy all needs")
}

// defaultFloor returns the floor of a demonstration that names none, with four digits:
// floorBelow under the accuracy of all modalities. If no variant that is much cheaper
// reaches that, every policy would have to run all modalities. Then it is the lower end
// of the interval of the most accurate variant that is much cheaper.
func defaultFloor(p *modelpkg.Profile, all modelpkg.VariantProfile) (slo.Accuracy, error) {
	floor, cheap := all.Accuracy.Mean-floorBelow, modelpkg.VariantProfile{}
	for _, v := range p.Variants {
		if throughput(v)*muchCheaper >= throughput(all) && v.Accuracy.Mean > cheap.Accuracy.Mean {
			cheap = v
		}
	}
	if cheap.Name != "" {
		floor = min(floor, cheap.Accuracy.Low)
	}
	a, err := slo.AccuracyOf(max(0, floor))
	return a / 100 * 100, err
}

// cheapest returns the variant with the highest throughput whose accuracy, or with a
// confidence its lower bound, is at least the floor.
func cheapest(m *modelpkg.Model, p *modelpkg.Profile, floor slo.Accuracy, confidence slo.Confidence, best modelpkg.VariantProfile) modelpkg.VariantProfile {
	for _, v := range p.Variants {
		accuracy, err := slo.AccuracyOf(v.Accuracy.Mean)
		if confidence > 0 {
			accuracy = v.Accuracy.Bounds(p.VariantBounds(m))[confidence-1]
		}
		if err == nil && accuracy >= floor && throughput(v) > throughput(best) {
			best = v
		}
	}
	return best
}

// cascaded returns the highest throughput of a cascade that reaches the floor; 0 if none
// does. It is only a guess: what its second variant takes over from the first one is left
// out.
func cascaded(p *modelpkg.Profile, floor slo.Accuracy, confidence slo.Confidence) (best float64) {
	if p.Cascades == nil {
		return 0
	}
	rates := map[string]float64{}
	for _, v := range p.Variants {
		name, _, _ := strings.Cut(v.Name, "@") // the last of a declaration is for the largest items
		rates[name] = throughput(v)
	}
	for i := range p.Cascades.Points {
		point := &p.Cascades.Points[i]
		accuracy := point.Planned()
		if confidence > 0 {
			accuracy = p.Cascades.Low(point)[confidence-1]
		}
		if accuracy >= floor {
			best = max(best, 1/(1/rates[point.First]+point.Share()/rates[point.Then]))
		}
	}
	return best
}

// throughput returns the highest number of items per second over the variant's batch
// sizes.
func throughput(v modelpkg.VariantProfile) float64 {
	best := 0.0
	for _, b := range v.Batches {
		if b.P50MS > 0 {
			best = max(best, 1e3*float64(b.Items)/b.P50MS)
		}
	}
	return best
}
