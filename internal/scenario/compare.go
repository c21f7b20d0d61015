package scenario

import (
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
)

// The rule for the first policy of a result, at every load: its late share must be at
// most LateBand above the lowest one of the other policies. Its mean accuracy must be
// at least that of every other policy whose late share is within LateBand of its own,
// with tolerance AccuracyBand.
const (
	LateBand     = 0.002
	AccuracyBand = 0.00005 // half of the last printed digit
)

// Verdict compares the first policy with the others in one group at one load.
type Verdict struct {
	Group         string  `json:"group"`
	Load          float64 `json:"load"`
	Best          string  `json:"best"`           // the other policy with the lowest late share
	LateExcess    float64 `json:"late_excess"`    // late share above that policy's
	Rival         string  `json:"rival"`          // the most accurate of those within the band, "" if none
	AccuracyShort float64 `json:"accuracy_short"` // its accuracy above ours, 0 if none
}

// Missed reports whether the rule is broken.
func (v Verdict) Missed() bool { return v.LateExcess > LateBand || v.AccuracyShort > AccuracyBand }

// compare compares the first policy with the others; it returns nothing if there is
// only one.
func (r *Result) compare() []Verdict {
	verdicts := []Verdict{}
	if len(r.Policies) < 2 {
		return verdicts
	}
	for _, group := range r.Groups() {
		for _, load := range r.Loads(group) {
			ours := r.cell(group, r.Policies[0], load)
			v := Verdict{Group: group, Load: load, LateExcess: math.Inf(-1)}
			for _, policy := range r.Policies[1:] {
				c := r.cell(group, policy, load)
				if excess := ours.LateShare - c.LateShare; excess > v.LateExcess {
					v.Best, v.LateExcess = policy, excess
				}
				if short := c.Accuracy - ours.Accuracy; math.Abs(ours.LateShare-c.LateShare) <= LateBand && short > v.AccuracyShort {
					v.Rival, v.AccuracyShort = policy, short
				}
			}
			verdicts = append(verdicts, v)
		}
	}
	return verdicts
}

// Missed returns the number of cells that break the rule.
func (r *Result) Missed() int {
	missed := 0
	for _, v := range r.Comparison {
		if v.Missed() {
			missed++
		}
	}
	return missed
}

// WriteMarkdown writes the result as tables: late share and accuracy of every cell,
// with broken rules in bold, then completion times, then capacities, then the pictures,
// given their paths relative to the document.
func (r *Result) WriteMarkdown(w io.Writer, pictures []string) error {
	m := markdown{Writer: w}
	m.line("\n%s. Seed %d.", r.Description, r.Seed)
	if len(r.Comparison) > 0 {
		m.line("\nLate share / mean accuracy by load (items/s). `%s` misses the rule in %d of %d cells (**bold**).", r.Policies[0], r.Missed(), len(r.Comparison))
	}
	r.cellTable(&m)
	r.timeTable(&m)
	r.capacityTable(&m)
	for i, file := range pictures {
		name := strings.TrimSuffix(path.Base(file), path.Ext(file))
		switch i {
		case 0:
			m.line("\n![%s](%s)", name, file)
		case 1:
			m.line("\nThe other groups' pictures:\n")
			fallthrough
		default:
			m.line("- [%s](%s)", name, file)
		}
	}
	m.line("")
	return m.err
}

// markdown writes lines and keeps the first error.
type markdown struct {
	io.Writer
	err error
}

func (m *markdown) line(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.Writer, format+"\n", args...)
	}
}

// head writes a table's head: columns of words, then columns of numbers.
func (m *markdown) head(words []string, numbers []string) {
	m.line("")
	m.row(slices.Concat(words, numbers))
	m.line("|%s%s", strings.Repeat("---|", len(words)), strings.Repeat("--:|", len(numbers)))
}

// row writes a row of a table.
func (m *markdown) row(cells []string) { m.line("| %s |", strings.Join(cells, " | ")) }

func (r *Result) cellTable(m *markdown) {
	m.head([]string{"group"}, append([]string{"items/s"}, r.Policies...))
	for _, group := range r.Groups() {
		for _, load := range r.Loads(group) {
			row := []string{group, fmt.Sprintf("%.4g", load)}
			for i, policy := range r.Policies {
				c := r.cell(group, policy, load)
				text := fmt.Sprintf("%.2f %% / %.4f", 100*c.LateShare, c.Accuracy)
				if i == 0 && slices.ContainsFunc(r.Comparison, func(v Verdict) bool { return v.Group == group && v.Load == load && v.Missed() }) {
					text = "**" + text + "**"
				}
				row = append(row, text)
			}
			m.row(row)
		}
	}
}

// timeTable writes completion times and goodput at the highest load of each group,
// where policies differ most.
func (r *Result) timeTable(m *markdown) {
	m.line("\nAt each group's highest load:")
	m.head([]string{"group", "policy"}, []string{"items/s", "on time/s", "x", "late jobs", "least over floor", "JCT mean ms", "x", "p50", "p99", "batch"})
	for _, group := range r.Groups() {
		loads := r.Loads(group)
		ours := r.cell(group, r.Policies[0], slices.Max(loads))
		for _, policy := range r.Policies {
			c := r.cell(group, policy, slices.Max(loads))
			m.line("| %s | %s | %.4g | %.1f | %.2f | %.2f %% | %+.4f | %.1f | %.2f | %.1f | %.1f | %.1f |", group, policy, c.Load, c.Goodput,
				ratio(ours.Goodput, c.Goodput), 100*c.JobLateShare, c.FloorMarginMin, c.JCTMeanMS, ratio(c.JCTMeanMS, ours.JCTMeanMS),
				c.JCTP50MS, c.JCTP99MS, c.BatchMean)
		}
	}
	m.line("\nx: `%s` beside this policy, its goodput over this one's and this one's JCT over its.", r.Policies[0])
}

func (r *Result) capacityTable(m *markdown) {
	if len(r.Capacity) == 0 {
		return
	}
	m.line("\nHighest rate with at most %g %% late (items/s), the fluid bound, and `%s` beside both:", 100*LateShareMax, r.Policies[0])
	m.head([]string{"group"}, append(slices.Clone(r.Policies), "bound", "of the bound", "x best other"))
	for _, group := range r.Groups() {
		row := []string{group}
		var ours, bound, best float64
		for _, c := range r.Capacity {
			if c.Group != group {
				continue
			}
			row = append(row, fmt.Sprintf("%.1f", c.Rate))
			if bound = c.Bound; c.Policy == r.Policies[0] {
				ours = c.Rate
			} else {
				best = max(best, c.Rate)
			}
		}
		m.row(append(row, fmt.Sprintf("%.1f", bound), fmt.Sprintf("%.2f", ratio(ours, bound)), fmt.Sprintf("%.2f", ratio(ours, best))))
	}
}

// ratio returns a / b, 0 if b is 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
