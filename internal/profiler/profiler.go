// Package profiler measures a model: the mean score of every variant on a labelled set,
// its time by batch size, and its memory. Planning and scheduling depend on these
// numbers. So they are measured through the same runtime interface, with the same
// threads, as the server uses. Nothing measured is smoothed or corrected; odd results
// are reported.
package profiler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// Options configure a profile. Default sets what does not depend on the model.
type Options struct {
	Device  string // name of the device
	Detail  string // the device in its maker's words
	Threads int    // intra-op threads, as the server will use
	// Providers are those that the runtime uses, for the profile's record.
	Providers []modelpkg.Provider
	Batches   []int         // ascending from 1; nil: Ladder of the model's limit
	Warmup    int           // untimed runs of every batch size
	Trials    int           // least number of timed runs of every batch size
	Budget    time.Duration // for more timed runs, up to TrialsMax of each size
	Items     int           // labelled samples to use, evenly spread; 0: all

	// Answers has known answers, which are not computed again. Variants without answers
	// in it are run. Nil: none.
	Answers *modelpkg.Samples
	// Scores has each variant's scores for all samples, for a model whose metric is
	// external: Model.ExternalScores. For other models they are computed.
	Scores [][]float64
	// Timed has latencies and memory to keep. Nil: measure them.
	Timed *modelpkg.Profile

	// Keep is called with all answers so far after every variant, so that an
	// interrupted run can continue later. Nil: not wanted.
	Keep func(*modelpkg.Samples) error
	// Progress is called often, in Run's goroutine. Nil: not wanted.
	Progress func(Progress)
}

// TrialsMax bounds the timed runs of one batch size. More runs do not change the median
// of a fast model.
const TrialsMax = 100

// Default returns the options of an ordinary profile: three warm-up runs and at least
// ten timed runs, as in the paper.
func Default() Options { return Options{Warmup: 3, Trials: 10, Budget: 30 * time.Second} }

// Quick returns options for a first look: few runs and few samples. The accuracies'
// intervals show how few.
func Quick() Options { return Options{Warmup: 1, Trials: 3, Items: 400} }

// Result is the outcome of a measurement.
type Result struct {
	Profile  *modelpkg.Profile
	Samples  *modelpkg.Samples
	Warnings []string // odd results, for people
}

// Ladder returns the batch sizes 1, 2, 4, ... and the limit.
func Ladder(limit int) []int {
	var sizes []int
	for b := 1; b < limit; b *= 2 {
		sizes = append(sizes, b)
	}
	return append(sizes, limit)
}

// Open opens a runtime. It is called several times, one after the other: a runtime may
// keep the memory of one batch for the next, so each variant's memory is measured in a
// fresh runtime.
type Open func(context.Context) (runtime.Runtime, error)

// run is a profile in progress.
type run struct {
	ctx     context.Context
	open    Open
	name    string // of the runtime
	version string
	m       *modelpkg.Model
	set     *modelpkg.Set
	o       Options
	pick    []int       // the samples of the set in use
	groups  []groupings // by variant

	timings [][]timing                 // [variant][batch]
	stages  []stage                    // timed alone; nil: the model has none, or the runtime cannot run one alone
	stageOf [][]int                    // by variant and step: index into stages
	sumOff  map[int]*modelpkg.StageSum // by variant of stages
	trials  int                        // timed runs of every batch size
	samples *modelpkg.Samples
	meter   meter
}

// timing is the measurements of one variant at one batch size.
type timing struct {
	first  time.Duration // of the first run, for estimates only
	memory int64
	runs   []time.Duration
}

// short reports whether the batch is so short that the contents of the processor's
// caches matter. Then it runs twice.
func (t *timing) short() bool { return t.first < warmBelow }

// visit returns the time that one round takes for the batch.
func (t *timing) visit() time.Duration {
	if t.short() {
		return 2 * t.first
	}
	return t.first
}

// Run measures the model. If ctx is cancelled, it ends between two batches with an
// error of kind cancelled; the answers passed to Keep stay valid.
func Run(ctx context.Context, open Open, m *modelpkg.Model, set *modelpkg.Set, o Options) (*Result, error) {
	r := &run{ctx: ctx, open: open, m: m, set: set, o: o}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.measure(); err != nil {
		if ctx.Err() != nil {
			return nil, slo.E("profile "+m.Name, slo.KindCancelled, "stopped")
		}
		return nil, err
	}
	p, err := r.profile()
	if err != nil {
		return nil, err
	}
	return &Result{Profile: p, Samples: r.samples, Warnings: append(oddities(p), r.shorter(p)...)}, nil
}

// prepare sets batch sizes and samples, and what need not be measured again.
func (r *run) prepare() error {
	limit := r.m.Limits.BatchItemsMax
	if r.o.Batches == nil {
		r.o.Batches = Ladder(limit)
	}
	for i, b := range r.o.Batches {
		if (i == 0 && b != 1) || (i > 0 && b <= r.o.Batches[i-1]) || b > limit {
			return slo.E("profile "+r.m.Name, slo.KindInvalid, "batch sizes %v must ascend from 1 to at most the model's limit of %d", r.o.Batches, limit)
		}
	}
	if r.o.Threads < 1 || r.o.Trials < 1 || r.o.Warmup < 0 {
		return slo.E("profile "+r.m.Name, slo.KindInvalid, "threads and trials must be at least 1, not %d and %d", r.o.Threads, r.o.Trials)
	}
	r.samples, r.pick = r.o.Answers, spread(r.set.Len(), 0)
	if !r.known() { // answers to the whole set are better than answers to a few samples
		r.pick = spread(r.set.Len(), r.o.Items)
	}
	if !r.known() {
		r.samples = &modelpkg.Samples{Labels: r.set.Labels.Pick(r.pick), Variants: map[string]modelpkg.VariantSamples{}}
	}
	if r.m.Scoring.External() && len(r.o.Scores) != len(r.m.Variants) {
		return slo.E("profile "+r.m.Name, slo.KindInvalid, "the metric is external: scores of every variant are needed")
	}
	r.group()
	r.sumOff = map[int]*modelpkg.StageSum{}
	r.timings = make([][]timing, len(r.m.Variants))
	for v := range r.timings {
		r.timings[v] = make([]timing, len(r.o.Batches))
	}
	return nil
}

// spread picks count of n samples evenly, or all if count is 0 or too large.
func spread(n, count int) []int {
	if count <= 0 || count > n {
		count = n
	}
	pick := make([]int, count)
	for i := range pick {
		pick[i] = i * n / count
	}
	return pick
}

// known reports whether the existing answers belong to the samples in use.
func (r *run) known() bool {
	if r.samples == nil {
		return false
	}
	have, want := r.samples.Labels, r.set.Labels.Pick(r.pick)
	return have.Width == want.Width && slices.Equal(have.Values, want.Values)
}

// lengths returns the sizes of the dynamic inputs in the samples. The profile's times
// hold for these.
func (r *run) lengths() map[string]int64 {
	lengths := map[string]int64{}
	for i, in := range r.m.Inputs {
		if n := r.set.LongestSample(in, i); n > 0 {
			lengths[in.Name] = n
		}
	}
	return lengths
}

// measure has three parts: each variant alone for its memory, then all of them loaded,
// as they will serve, for their answers and their times.
func (r *run) measure() error {
	for v := range r.m.Variants {
		r.report(Progress{Stage: "memory", Share: scoutShare * float64(v) / float64(len(r.m.Variants))})
		if err := r.scout(v); err != nil {
			return err
		}
	}
	rt, err := r.open(r.ctx)
	if err != nil {
		return err
	}
	defer rt.Close()
	r.name, r.version = rt.Name(), rt.Version()
	r.samples.Origin = modelpkg.Origin{ModelDigest: r.m.Digest, DatasetDigest: r.set.Digest, Runtime: r.name, RuntimeVersion: r.version, Providers: r.o.Providers}
	instance, err := rt.Load(r.ctx, r.m, runtime.Options{Threads: r.o.Threads})
	if err != nil {
		return err
	}
	defer instance.Close()
	if err := r.prepareStages(instance); err != nil {
		return err
	}
	r.plan()
	for v := range r.m.Variants {
		if err := alone(r.ctx, instance, r.m, v, r.items(v, 0, r.o.Batches[len(r.o.Batches)-1])); err != nil {
			return r.explained(v, err)
		}
	}
	for _, name := range r.m.Bases() {
		if err := r.answer(instance, name); err != nil {
			return err
		}
	}
	if r.o.Timed != nil {
		return nil
	}
	return r.time(instance)
}

// explained adds the name of the variant to an error.
func (r *run) explained(variant int, err error) error {
	return slo.E("profile "+r.m.Name, slo.KindOf(err), "variant %s: %w", r.m.Variants[variant].Name, err)
}

// once runs one batch and returns its total time.
func (r *run) once(instance runtime.Instance, variant, batch, from int) (time.Duration, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	items := r.items(variant, from, r.o.Batches[batch])
	start := time.Now()
	_, err := instance.Run(r.ctx, variant, items)
	return time.Since(start), err
}

// profile returns the measurements as a profile.
func (r *run) profile() (*modelpkg.Profile, error) {
	p := &modelpkg.Profile{
		Format: modelpkg.ProfileFormat, Model: r.m.Name, ModelVersion: r.m.Version, ModelDigest: r.m.Digest,
		Device: r.o.Device, DeviceDetail: r.o.Detail, Threads: r.o.Threads, Providers: r.o.Providers,
		Runtime: r.name, RuntimeVersion: r.version, Created: time.Now().UTC().Truncate(time.Second),
		Dataset: r.m.Evaluation.Profile, DatasetDigest: r.set.Digest, Samples: r.set.Len(), Metric: r.m.Scoring.Title(), Lengths: r.lengths(),
	}
	candidates := r.candidates()
	if candidates != nil {
		p.Cascades = &modelpkg.Cascades{} // the variants' bounds leave room for those of cascades
	}
	bounds := p.VariantBounds(r.m)
	for i, v := range r.m.Variants {
		vp := modelpkg.VariantProfile{
			Name: v.Name, Modalities: v.Modalities.Names(r.m.ModalityNames()), Precision: v.Precision,
			Accuracy: modelpkg.MeasuredScore(r.scores(i), bounds),
		}
		if !r.m.Scoring.External() {
			vp.Statistics = r.set.Judge().Statistics(r.samples.Labels, r.samples.Variants[v.Declared()])
		}
		for _, primary := range r.samples.Primaries[v.Declared()] {
			if vp.Primaries == nil {
				vp.Primaries = make([]int, len(r.m.Modalities))
			}
			if primary >= 0 {
				vp.Primaries[primary]++
			}
		}
		if r.o.Timed != nil {
			vp.Batches, vp.Sum = r.o.Timed.Variants[i].Batches, r.o.Timed.Variants[i].Sum
		} else {
			vp.Batches, vp.Sum = r.batches(i)
		}
		p.Variants = append(p.Variants, vp)
	}
	p.Inputs = modelpkg.ProfileInputs(r.m, r.set)
	r.compare(p)
	if r.o.Timed != nil {
		p.Threads, p.Stages = r.o.Timed.Threads, r.o.Timed.Stages
		return p, r.cascades(p, candidates)
	}
	for s, one := range r.stageRuns() {
		p.Stages = append(p.Stages, modelpkg.StageProfile{Name: one.Name, Batches: r.stages[s].batches(r.o.Batches)})
	}
	return p, r.cascades(p, candidates)
}

// batches returns a variant's times by batch size.
func (r *run) batches(variant int) ([]modelpkg.BatchProfile, *modelpkg.StageSum) {
	if !r.summed(variant) {
		var batches []modelpkg.BatchProfile
		for b, t := range r.timings[variant] {
			batches = append(batches, t.profile(r.o.Batches[b]))
		}
		return batches, nil
	}
	return r.sums(variant)
}

func (t timing) profile(items int) modelpkg.BatchProfile {
	slices.Sort(t.runs)
	return modelpkg.BatchProfile{
		Items: items, P50MS: t.milliseconds(0.5), P95MS: t.milliseconds(0.95),
		MemoryBytes: t.memory, Runs: len(t.runs),
	}
}

// scores returns the scores of a variant for the samples in use.
func (r *run) scores(variant int) []float64 {
	if !r.m.Scoring.External() {
		return r.samples.Scores(r.m.Variants[variant].Declared())
	}
	scores := make([]float64, len(r.pick))
	for i, at := range r.pick {
		scores[i] = r.o.Scores[variant][at]
	}
	return scores
}

// milliseconds returns a quantile of the timed runs, 0 if there are none.
func (t timing) milliseconds(q float64) float64 {
	return stats.Milliseconds(max(stats.Quantile(t.runs, q), time.Microsecond))
}

// oddities returns what a person should check before relying on the profile.
func oddities(p *modelpkg.Profile) []string {
	var odd []string
	noisy, cells := 0, 0
	for _, v := range p.Variants {
		for i, b := range v.Batches {
			cells++
			if b.P95MS > 1.5*b.P50MS {
				noisy++
			}
			if i > 0 && b.P50MS < v.Batches[i-1].P50MS {
				odd = append(odd, fmt.Sprintf("%s: a batch of %d took less time (%.3g ms) than one of %d (%.3g ms)",
					v.Name, b.Items, b.P50MS, v.Batches[i-1].Items, v.Batches[i-1].P50MS))
			}
		}
	}
	if noisy*4 > cells {
		odd = append(odd, "times vary much (p95 is more than 1.5 times p50 in a quarter of the cells): profile on an idle machine")
	}
	return append(odd, p.Warnings()...)
}

// shorter reports inputs whose samples are shorter than what will be served.
func (r *run) shorter(p *modelpkg.Profile) []string {
	var told []string
	for _, in := range r.m.Inputs {
		if n := p.Lengths[in.Name]; n > 0 && n < in.Max {
			told = append(told, fmt.Sprintf("times hold for %s of size %d; up to %d (max) is served, which may take longer: profile with samples as long as the expected requests", in.Name, n, in.Max))
		}
	}
	return told
}
