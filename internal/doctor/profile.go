package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

const (
	// timeBudget is how long the variants of a model run to compare their times with the
	// profile, without loading.
	timeBudget = 500 * time.Millisecond
	// runsMin and runsMax bound the runs of a variant. The median of fewer is by chance; more
	// add nothing.
	runsMin, runsMax = 3, 15
	// timesApart is the ratio of times to those of the profile from which the profile is
	// said to be of another machine. Other programs and a changed clock rate give less.
	timesApart = 1.5
)

// missing reports whether there is no library, as opposed to a bad one.
func missing(err error) bool {
	kind := slo.KindOf(err)
	return kind == slo.KindNotFound || kind == slo.KindUnsupported
}

// profile checks that a model has a profile, and that it is of this machine as it is now.
func (c *checkup) profile(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model) {
	measure := "run 'mosel profile " + m.Dir + "'"
	p, err := modelpkg.FindProfileOn(m, c.Device, c.Providers)
	if err != nil {
		c.add("profile", m.Name, Fail, firstLine(err), measure)
		return
	}
	own, _ := modelpkg.Device(c.Providers)
	switch {
	case !slices.Equal(p.Providers, c.Providers) && (!modelpkg.PlainCPU(p.Providers) || !modelpkg.PlainCPU(c.Providers)):
		c.add("profile", m.Name, Warn, fmt.Sprintf("profile %s was measured with %s, not with %s", p.Device, modelpkg.ProviderNames(p.Providers), modelpkg.ProviderNames(c.Providers)), measure+" with the same --providers")
		return
	case rt == nil || !c.Time:
		if p.Device != own {
			c.add("profile", m.Name, Warn, fmt.Sprintf("profile %s is not named like this machine (%s); its times were not compared", p.Device, own), measure)
			return
		}
		c.add("profile", m.Name, OK, fmt.Sprintf("%s; its times were not compared", p.Device), "")
		return
	}
	ratio, runs, err := compare(ctx, rt, m, p)
	switch {
	case err != nil:
		c.add("profile", m.Name, Warn, fmt.Sprintf("the times could not be compared: %s", firstLine(err)), "run 'mosel check "+m.Dir+"'")
	case runs == 0:
		c.add("profile", m.Name, OK, fmt.Sprintf("%s; no variant could be compared, since they run elsewhere or there are no samples", p.Device), "")
	case ratio > timesApart || ratio < 1/timesApart:
		c.add("profile", m.Name, Warn, fmt.Sprintf("variants take %.2g times as long as profile %s says", ratio, p.Device), measure+" while nothing else runs")
	default:
		c.add("profile", m.Name, OK, fmt.Sprintf("%s; variants take %.2f times as long as it says", p.Device, ratio), "")
	}
}

// compare runs variants of the model on one sample. ratio is how many times as long they
// take as the profile says, the geometric mean over the variants; runs is how many
// variants ran.
func compare(ctx context.Context, rt runtime.Runtime, m *modelpkg.Model, p *modelpkg.Profile) (ratio float64, runs int, err error) {
	samples, err := m.FirstSamples(1)
	if err != nil || len(samples) == 0 {
		return 0, 0, err
	}
	var here []int
	for v := range m.Variants {
		if len(m.ServersOf(v)) == 0 && len(p.Variants[v].Batches) > 0 && p.Variants[v].Batches[0].Items == 1 {
			here = append(here, v)
		}
	}
	if len(here) == 0 {
		return 0, 0, nil
	}
	in, err := rt.Load(ctx, m, runtime.Options{Threads: max(1, p.Threads), Variants: here})
	if err != nil {
		return 0, 0, err
	}
	sum := 0.0
	for _, v := range here {
		took, err := median(ctx, in, v, m.Conform(samples[0].Item, samples[0].Sizes, v), timeBudget/time.Duration(len(here)))
		if err != nil {
			return 0, 0, errors.Join(fmt.Errorf("variant %s: %w", m.Variants[v].Name, err), in.Close())
		}
		sum += math.Log(float64(took) / float64(time.Millisecond) / p.Variants[v].Batches[0].P50MS)
	}
	return math.Exp(sum / float64(len(here))), len(here), in.Close()
}

// median is the median time of a variant on one item, within a budget.
func median(ctx context.Context, in runtime.Instance, variant int, item runtime.Item, budget time.Duration) (time.Duration, error) {
	var times []time.Duration
	for began := time.Now(); len(times) < runsMin+1 || len(times) < runsMax && time.Since(began) < budget; {
		start := time.Now()
		if _, err := in.Run(ctx, variant, []runtime.Item{item}); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	times = times[1:] // the first one warms up
	slices.Sort(times)
	return times[len(times)/2], nil
}
