package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/slo"
)

// cell is a way at a floor.
type cell struct {
	way   *way
	floor slo.Accuracy
	runs  []string
	ms    float64
	ok    bool // there is a certified plan
	got   []outcome
}

// section measures all and returns the text.
func (b *bench) section(ctx context.Context, groups []group) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "Floors hold at a confidence of %v; the highest is what every way certifies for policy `all`, the others are so many points below it. Served are all held-out samples, in requests of %d, "+
		"on one instance with one thread; the ways take turns, %d rounds. *ms/item* is by the shipped profile's times, *items/CPU-s* is measured (median, least and most), *x* is beside `all`.\n", confidence.Float(), jobItems, b.rounds)
	for i := range groups {
		if err := b.table(ctx, &groups[i], &text); err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

// table measures a group.
func (b *bench) table(ctx context.Context, g *group, text *strings.Builder) error {
	cells, err := g.cells()
	if err != nil {
		return err
	}
	for round := range b.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d\n", g.name, round+1)
		for i := range cells {
			c := &cells[i]
			if !c.ok {
				continue
			}
			got, err := b.serve(ctx, c.way, c.floor)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", g.name, c.way.name, err)
			}
			c.got = append(c.got, got)
		}
	}
	told := text.Len()
	defer func() { fmt.Fprintln(os.Stderr, text.String()[told:]) }()
	fmt.Fprintf(text, "\n**%s**: %s.\n\n| floor | way | runs | ms/item | items/CPU-s | x | held-out accuracy |\n|---|---|---|--:|--:|--:|---|\n", g.name, g.note)
	base := cells[0].rate()
	for i, c := range cells {
		floor := fmt.Sprintf("%.4f", c.floor.Float())
		switch points := below[max(0, (i-1)/len(g.ways))]; {
		case i == 0:
			floor = "none"
		case points == 0:
			floor += " (as `all`)"
		default:
			floor += fmt.Sprintf(" (-%v points)", points)
		}
		if !c.ok {
			fmt.Fprintf(text, "| %s | %s | cannot be certified | | | | |\n", floor, c.way.name)
			continue
		}
		least, most := c.spread()
		fmt.Fprintf(text, "| %s | %s | %s | %.3f | %.0f (%.0f to %.0f) | %.2f | %s |\n", floor, c.way.name, strings.Join(c.runs, ", "), c.ms, c.rate(), least, most, c.rate()/base, c.accuracy())
	}
	return nil
}

// cells returns policy all, then for each floor each way.
func (g *group) cells() ([]cell, error) {
	all := &way{name: "all", served: g.all, policy: plan.PolicyAll}
	list := []cell{{way: all}}
	for _, points := range below {
		floor := g.floor - slo.Accuracy(points/100*float64(slo.AccuracyUnit))
		for k := range g.ways {
			list = append(list, cell{way: &g.ways[k], floor: floor})
		}
	}
	for i := range list {
		c := &list[i]
		var err error
		if c.runs, c.ms, c.ok, err = c.way.planned(c.floor); err != nil {
			return nil, err
		}
		for k, name := range c.runs {
			c.runs[k] = "`" + name + "`"
		}
	}
	return list, nil
}

// rates are those of all rounds, in order.
func (c *cell) rates() (rates []float64) {
	for _, o := range c.got {
		rates = append(rates, o.rate)
	}
	slices.Sort(rates)
	return rates
}

// rate is the median of the rounds.
func (c *cell) rate() float64 {
	r := c.rates()
	return (r[(len(r)-1)/2] + r[len(r)/2]) / 2
}

func (c *cell) spread() (least, most float64) { r := c.rates(); return r[0], r[len(r)-1] }

// accuracy is that of the held-out samples. Rounds differ in which items of a request run
// on which of its variants, so it is the mean of the rounds; the interval is that of one.
func (c *cell) accuracy() string {
	sum := 0.0
	for _, o := range c.got {
		sum += o.right
	}
	n := float64(c.got[0].samples)
	p := sum / n / float64(len(c.got))
	low, high := score.Wilson(p, n)
	return fmt.Sprintf("%.4f (%.4f to %.4f)", p, low, high)
}
