package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// shipped returns the times and the answers of a package's variants by the profile of the
// shipped package that it is made of, whose graphs are the same; no answers if it has
// another labelled set. A gate's network is not in it: its times are those of the recipe's
// like variant, as many times shorter as its processor time is in this run.
func (b *bench) shipped(ctx context.Context, r *recipe, m *modelpkg.Model, set *modelpkg.Set) (*modelpkg.Profile, *modelpkg.Samples, error) {
	original, err := modelpkg.Load(filepath.Join(b.models, r.from))
	if err != nil {
		return nil, nil, err
	}
	p, err := modelpkg.FindProfile(original, "cpu")
	if err != nil {
		return nil, nil, err
	}
	answers, err := modelpkg.LoadSamples(original, p.Origin(), original.SamplesPath("cpu"))
	if err != nil {
		return nil, nil, err
	}
	if gate := m.Gates; gate != nil {
		like := slices.IndexFunc(m.Variants, func(v modelpkg.Variant) bool { return v.Name == r.like })
		at := slices.IndexFunc(p.Variants, func(v modelpkg.VariantProfile) bool { return v.Name == r.like })
		own := modelpkg.VariantProfile{Name: m.Variants[gate[0].Variant].Name, Batches: slices.Clone(p.Variants[at].Batches)}
		if err := b.scale(ctx, m, set, [2]int{gate[0].Variant, like}, own.Batches); err != nil {
			return nil, nil, err
		}
		p.Variants = append(p.Variants, own)
	}
	timed, answers, err := part(m, p, answers)
	if r.labelled != "" {
		answers = nil
	}
	return timed, answers, err
}

// ratioRuns is how often each batch runs to compare two variants.
const ratioRuns = 15

// scale turns the times of the second variant into those of the first one: by their
// processor times. The two take turns; medians are compared.
func (b *bench) scale(ctx context.Context, m *modelpkg.Model, set *modelpkg.Set, variants [2]int, batches []modelpkg.BatchProfile) error {
	in, err := b.rt.Load(ctx, m, runtime.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer in.Close()
	for i := range batches {
		var items []runtime.Item
		for k := range batches[i].Items {
			items = append(items, runtime.Item(set.Item(k)))
		}
		var took [2][]time.Duration
		for range ratioRuns {
			for k, v := range variants {
				before := replay.ProcessCPU()
				if _, err := in.Run(ctx, v, items); err != nil {
					return fmt.Errorf("variant %s: %w", m.Variants[v].Name, err)
				}
				took[k] = append(took[k], replay.ProcessCPU()-before)
			}
		}
		slices.Sort(took[0])
		slices.Sort(took[1])
		ratio := float64(took[0][ratioRuns/2]) / float64(max(1, took[1][ratioRuns/2]))
		batches[i].P50MS, batches[i].P95MS = batches[i].P50MS*ratio, batches[i].P95MS*ratio
	}
	return nil
}
