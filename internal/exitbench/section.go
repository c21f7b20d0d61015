package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
)

// section measures all and returns the text.
func (b *bench) section(ctx context.Context) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "Thresholds are certified on %d profile samples: with 95 %% confidence, a chain of exits loses at most %.1f points against its last exit. All figures are of %d held-out samples, with 95 %% intervals.\n\n",
		len(b.profile.class[0]), 100*lossMax, len(b.heldout.items))
	b.exitTable(&text)
	if err := b.throughput(ctx, &text); err != nil {
		return "", err
	}
	b.insights(&text)
	if err := b.partial(ctx, &text); err != nil {
		return "", err
	}
	return text.String(), nil
}

// interval formats a share of the held-out samples with its interval.
func interval(count, n int) string {
	p := float64(count) / float64(n)
	low, high := score.Wilson(p, float64(n))
	return fmt.Sprintf("%.4f (%.4f to %.4f)", p, low, high)
}

// percent formats a share with its interval.
func percent(count, n int) string {
	if n == 0 {
		return "none"
	}
	p := float64(count) / float64(n)
	low, high := score.Wilson(p, float64(n))
	return fmt.Sprintf("%.1f %% (%.1f to %.1f), of %d", 100*p, 100*low, 100*high, n)
}

// exitTable lists the accuracy of each exit, and how many items are sure there.
func (b *bench) exitTable(text *strings.Builder) {
	text.WriteString("| chain | threshold | exit 1 | exit 2 | exit 3 | exit 4 | leave after 1 / 2 / 3 / 4 / never sure |\n|---|--:|---|---|---|---|---|\n")
	n := len(b.heldout.items)
	for _, c := range b.chains {
		fmt.Fprintf(text, "| `%s` | %g |", c.name, c.threshold)
		for _, v := range c.variants {
			fmt.Fprintf(text, " %s |", interval(count(b.heldout.right[v]), n))
		}
		left := make([]int, len(c.variants)+1)
		for sample := range n {
			left[b.heldout.exit(c, sample)-1]++
		}
		var shares []string
		for _, k := range left {
			shares = append(shares, fmt.Sprintf("%.1f %%", 100*float64(k)/float64(n)))
		}
		fmt.Fprintf(text, " %s |\n", strings.Join(shares, " / "))
	}
	text.WriteString("\n")
}

// throughput compares ways to run each chain.
func (b *bench) throughput(ctx context.Context, text *strings.Builder) error {
	fmt.Fprintf(text, "Batches of %d on one instance with one thread, in items per second of processor time (median of %d rounds). Items that are sure leave; the others wait for a full batch of their next exit, with what was computed for them.\n\n", batchItems, b.rounds)
	text.WriteString("| chain | exits | items/CPU-s | x | accuracy | loss, points |\n|---|---|--:|--:|---|--:|\n")
	n := len(b.heldout.items)
	for _, c := range b.chains {
		last := c.variants[len(c.variants)-1:]
		ways := [][]int{last, {c.variants[0], last[0]}, c.variants}
		names := []string{"the last, always", "1 and 4", "1, 2, 3 and 4"}
		rates, err := b.perSecond(ctx, ways, c.threshold)
		if err != nil {
			return err
		}
		always := count(b.heldout.right[last[0]])
		for i, way := range ways {
			through := chain{variants: way, threshold: c.threshold}
			right := b.heldout.rightOf(through, len(way))
			fmt.Fprintf(text, "| `%s` | %s | %.0f | %.2f | %s | %.2f |\n", c.name, names[i], rates[i], rates[i]/rates[0], interval(right, n), 100*float64(always-right)/float64(n))
		}
	}
	text.WriteString("| HELIOS | against frameworks with exits | | 1.48 | | \"negligible\" |\n\n")
	return nil
}

// sureFirst is the share of the items that are sure at the first exit in the observations
// of HELIOS, about.
const sureFirst = 0.75

// strict returns the chains with thresholds at which sureFirst of the profile's items are
// sure at the first exit.
func (b *bench) strict() []chain {
	chains := slices.Clone(b.chains)
	for i, c := range chains {
		confidence := slices.Sorted(slices.Values(b.profile.confidence[c.variants[0]]))
		chains[i].threshold = confidence[int((1-sureFirst)*float64(len(confidence)))]
	}
	return chains
}

// insights measures the two observations that HELIOS is built on.
func (b *bench) insights(text *strings.Builder) {
	chains := b.strict()
	fmt.Fprintf(text, "At the certified thresholds nearly all items are sure at once. The next two tables have thresholds at which %.0f %% of the profile's items are sure at the first exit, as in the paper.\n\n", 100*sureFirst)
	text.WriteString("**Models complement each other.** Items that are sure at the first exit:\n\n| first | second | of the first | of the second | of at least one |\n|---|---|---|---|---|\n")
	n := len(b.heldout.items)
	sure := func(c chain) []bool {
		list := make([]bool, n)
		for sample := range list {
			list[sample] = b.heldout.exit(c, sample) == 1
		}
		return list
	}
	for i, first := range chains {
		for _, second := range chains[i+1:] {
			x, y := sure(first), sure(second)
			both := slices.Clone(x)
			for k := range both {
				both[k] = both[k] || y[k]
			}
			fmt.Fprintf(text, "| `%s` | `%s` | %s | %s | %s |\n", first.name, second.name, percent(count(x), n), percent(count(y), n), percent(count(both), n))
		}
	}
	text.WriteString("| HELIOS: OPT-1.3B | OPT-6.7B | 74 % | 77 % | 92 % |\n\n")
	text.WriteString("**Unsure is not wrong.** Of the items that are unsure at an exit, those whose answer there is the last exit's:\n\n| chain | exit 1 | exit 2 | exit 3 |\n|---|---|---|---|\n")
	for _, c := range chains {
		last := c.variants[len(c.variants)-1]
		fmt.Fprintf(text, "| `%s` |", c.name)
		for k, v := range c.variants[:len(c.variants)-1] {
			unsure, same := 0, 0
			for sample := range n {
				if b.heldout.exit(c, sample) > k+1 {
					unsure++
					if b.heldout.class[v][sample] == b.heldout.class[last][sample] {
						same++
					}
				}
			}
			fmt.Fprintf(text, " %s |", percent(same, unsure))
		}
		text.WriteString("\n")
	}
	text.WriteString("| HELIOS: OPT-6.7B, layer 9 of 32 | 85 % | | |\n\n")
}
