// Package sizing chooses how many instances serve, and with how many threads each, by a
// measurement of a third of a second. Cores differ: some share one unit of computation,
// some share a path to memory that is full, and a device beside the processor may need
// few instances. The number of cores does not say which of these holds.
package sizing

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// Size is a number of instances, and of threads of each.
type Size struct{ Instances, Threads int }

func (s Size) String() string {
	return fmt.Sprintf("%s with %s", counted(s.Instances, "instance"), counted(s.Threads, "thread"))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Rate is what a size has been measured to run.
type Rate struct {
	Size
	Items float64 // in a second
}

const (
	// budget is the time of all measurements together, without loading.
	budget = 300 * time.Millisecond
	// rounds are how often each size is measured, so that a disturbance does not fall on
	// one size only.
	rounds = 2
	// batchItems is the batch that runs.
	batchItems = 8
	// enough is the share of the highest rate that a smaller number of instances must
	// reach to be chosen: batches then end earlier, and cores are free for other work.
	enough = 0.9
	// worthwhile is how many times the rate of two instances with one thread one instance
	// with two threads must have for two threads to be chosen.
	worthwhile = 1.1
)

// sizes returns what to measure for a default size: it, and its halves; and one instance
// with two threads, to compare with two instances.
func sizes(most Size) []Size {
	var list []Size
	for n := most.Instances; n >= 1; n /= 2 {
		list = append(list, Size{n, 1})
	}
	if !slices.Contains(list, Size{2, 1}) {
		list = append(list, Size{2, 1})
	}
	return append(list, Size{1, 2})
}

// Decide returns the size to serve with, no larger than most, and why.
func Decide(most Size, rates []Rate) (Size, string) {
	of := func(s Size) Rate {
		return rates[slices.IndexFunc(rates, func(r Rate) bool { return r.Size == s })]
	}
	best := of(most)
	for _, r := range rates {
		if r.Threads == 1 && r.Instances <= most.Instances && r.Items > best.Items {
			best = r
		}
	}
	chosen := best
	for _, r := range rates {
		if r.Threads == 1 && r.Instances < chosen.Instances && r.Items >= enough*best.Items {
			chosen = r
		}
	}
	if two, pair := of(Size{1, 2}), of(Size{2, 1}); chosen.Instances > 1 && two.Items > worthwhile*pair.Items {
		return Size{chosen.Instances / 2, 2}, fmt.Sprintf("%s ran %.0f items/s, %s %.0f", two, two.Items, pair, pair.Items)
	}
	why := []string{fmt.Sprintf("%s ran %.0f items/s", chosen.Size, chosen.Items)}
	for _, r := range rates {
		if r.Size != chosen.Size && (r.Threads > 1 || r.Instances <= most.Instances) {
			why = append(why, fmt.Sprintf("%s %.0f", r.Size, r.Items))
		}
	}
	return chosen.Size, strings.Join(why, ", ")
}

// slice is the time of one measurement of one of n sizes.
func slice(n int) time.Duration { return budget / time.Duration(rounds*n) }

// pick returns the variant to measure with, -1 if there is none: of those that run on
// graphs here, the one with the longest batches that are short enough, else the one with
// the shortest.
func pick(m *modelpkg.Model, p *modelpkg.Profile, most time.Duration) int {
	picked, longest := -1, 0.0
	for v := range m.Variants {
		if len(m.ServersOf(v)) > 0 {
			continue
		}
		took := 0.0
		for _, b := range p.Variants[v].Batches {
			if b.Items <= batchItems {
				took = b.P50MS
			}
		}
		short, was := took <= ms(most), longest <= ms(most)
		if picked < 0 || short && (!was || took > longest) || !short && !was && took < longest {
			picked, longest = v, took
		}
	}
	return picked
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Choose measures a model on a sample and returns the size to serve with, no larger than
// the given one, and why. An error means that it could not be measured; a panic in the
// runtime's binding is one too.
func Choose(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, p *modelpkg.Profile, most Size) (size Size, why string, err error) {
	size = most // also after a panic
	defer panicked(&err)
	variant := pick(m, p, slice(len(sizes(most))))
	if variant < 0 {
		return most, "", fmt.Errorf("model %s runs on other servers", m.Name)
	}
	samples, err := m.FirstSamples(1)
	if err != nil {
		return most, "", err
	}
	if len(samples) == 0 {
		return most, "", fmt.Errorf("model %s has no samples to measure with", m.Name)
	}
	b := bench{variant: variant, items: slices.Repeat([]runtime.Item{m.Conform(samples[0].Item, samples[0].Sizes, variant)}, min(batchItems, m.Limits.BatchItemsMax))}
	defer b.close()
	if err := b.load(ctx, rt, m, sizes(most)); err != nil {
		return most, "", err
	}
	rates, err := b.measure(ctx, sizes(most))
	if err != nil {
		return most, "", err
	}
	size, why = Decide(most, rates)
	return size, fmt.Sprintf("%s (variant %s of %s, batches of %d)", why, m.Variants[variant].Name, m.Name, len(b.items)), nil
}

// waited is runtime.Waited, except in tests.
var waited = runtime.Waited

// panicked makes an error of a panic.
func panicked(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the runtime panicked: %v", p)
	}
}

// bench runs batches on instances of one variant.
type bench struct {
	variant   int
	items     []runtime.Item
	instances [3][]runtime.Instance // by threads
}

// load makes as many instances as the sizes need.
func (b *bench) load(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, sizes []Size) error {
	for _, s := range sizes {
		for len(b.instances[s.Threads]) < s.Instances {
			in, err := rt.Load(ctx, m, runtime.Options{Threads: s.Threads, Variants: []int{b.variant}})
			if err != nil {
				return err
			}
			b.instances[s.Threads] = append(b.instances[s.Threads], in)
		}
	}
	return nil
}

func (b *bench) close() {
	for _, list := range b.instances {
		for _, in := range list {
			_ = in.Close() // what it does not free is no reason not to serve
		}
	}
}

// warm runs each instance once. If a batch takes longer than a slice, batches get one
// item. If that takes longer too, there is no time to measure.
func (b *bench) warm(ctx context.Context, slice time.Duration) error {
	for {
		rate, err := b.rateOf(ctx, b.instances[1][0], 1, 0)
		if err != nil {
			return err
		}
		took := time.Duration(float64(len(b.items)) / rate * float64(time.Second))
		if took <= slice {
			break
		}
		if len(b.items) == 1 {
			return fmt.Errorf("one item takes %v, too long for a short measurement", took.Round(time.Millisecond))
		}
		b.items = b.items[:1]
	}
	for threads, list := range b.instances {
		if _, err := b.rate(ctx, Size{len(list), threads}, 0); err != nil {
			return err
		}
	}
	return nil
}

// measure returns the rate of each size.
func (b *bench) measure(ctx context.Context, sizes []Size) ([]Rate, error) {
	each := slice(len(sizes))
	if err := b.warm(ctx, each); err != nil {
		return nil, err
	}
	best := make([]Rate, len(sizes))
	for range rounds {
		for i, s := range sizes {
			rate, err := b.rate(ctx, s, each)
			if err != nil {
				return nil, err
			}
			best[i] = Rate{s, max(best[i].Items, rate)}
		}
	}
	return best, nil
}

// rate has the instances of a size run one batch after another for a while, and returns
// how many items they ran in a second. Time in which an instance of one thread waited for
// a core does not count: other programs use the processor while a server starts, and not
// always when it serves. With several threads one may compute while another waits, so
// all time counts; on a busy machine one thread is preferred.
func (b *bench) rate(ctx context.Context, s Size, slice time.Duration) (sum float64, err error) {
	var all sync.WaitGroup
	rates, errs := make([]float64, s.Instances), make([]error, s.Instances)
	for i, in := range b.instances[s.Threads][:s.Instances] {
		all.Go(func() { rates[i], errs[i] = b.rateOf(ctx, in, s.Threads, slice) })
	}
	all.Wait()
	for _, rate := range rates {
		sum += rate
	}
	return sum, errors.Join(errs...)
}

// rateOf is rate for one instance, which runs on one thread of the process.
func (b *bench) rateOf(ctx context.Context, in runtime.Instance, threads int, slice time.Duration) (_ float64, err error) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	defer panicked(&err)
	began, before, items := time.Now(), waited(), 0
	for {
		if _, err := in.Run(ctx, b.variant, b.items); err != nil {
			return 0, err
		}
		items += len(b.items)
		if took := time.Since(began); took >= slice {
			if threads == 1 {
				took -= waited() - before
			}
			return float64(items) / max(took, time.Microsecond).Seconds(), nil
		}
	}
}
