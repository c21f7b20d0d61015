package scenario

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/stats"
)

// ResultFormat is the version of Result's JSON form.
const ResultFormat = 1

// Result is the output of `mosel simulate --json`. While Format is 1, fields may be
// added, but never renamed or removed.
type Result struct {
	Format      int        `json:"format"`
	Scenario    string     `json:"scenario"`
	Description string     `json:"description"`
	Seed        uint64     `json:"seed"`
	Policies    []string   `json:"policies"`
	Cells       []Cell     `json:"cells"`
	Capacity    []Capacity `json:"capacity"`
	Comparison  []Verdict  `json:"comparison"` // of the first policy with the others
}

// Cell is the result of one policy under one load of one group.
type Cell struct {
	Group          string  `json:"group"`
	Policy         string  `json:"policy"`
	Load           float64 `json:"load"`       // items per second
	LateShare      float64 `json:"late_share"` // of items: late, dropped, shed or refused
	JobLateShare   float64 `json:"job_late_share"`
	Goodput        float64 `json:"goodput"`          // items on time per second
	Accuracy       float64 `json:"accuracy"`         // expected, mean over the items that ran
	FloorMarginMin float64 `json:"floor_margin_min"` // lowest expected accuracy minus floor of a job that ran
	JCTMeanMS      float64 `json:"jct_mean_ms"`      // of jobs that ran, from arrival
	JCTP50MS       float64 `json:"jct_p50_ms"`
	JCTP99MS       float64 `json:"jct_p99_ms"`
	Items          int     `json:"items"` // arrived
	Jobs           int     `json:"jobs"`
	BatchMean      float64 `json:"batch_mean"` // items per batch

	Course Course `json:"-"`
}

// Course is a cell's development over time, in bins.
type Course struct {
	BinSeconds float64
	Variants   []string // "model/variant", as in Bins[i].Variants
	Bins       []sim.Bin
}

// Capacity is the highest rate at which a policy keeps 99 % of the items on time, and
// the fluid bound, in items per second.
type Capacity struct {
	Group  string  `json:"group"`
	Policy string  `json:"policy"`
	Rate   float64 `json:"rate"`
	Bound  float64 `json:"bound"`
}

func newCell(g *Group, policy string, load float64, r *sim.Report) Cell {
	c := Cell{Group: g.Name, Policy: policy, Load: load, LateShare: r.Items.LateShare(), JobLateShare: r.Jobs.LateShare(),
		Goodput: r.Goodput(g.Duration), Accuracy: r.Accuracy().Float(), FloorMarginMin: r.MinMargin.Float(),
		JCTMeanMS: stats.Milliseconds(r.JCT.Mean()), JCTP50MS: stats.Milliseconds(r.JCT.Quantile(0.5)), JCTP99MS: stats.Milliseconds(r.JCT.Quantile(0.99)),
		Items: r.Items.Total(), Jobs: r.Jobs.Total(), BatchMean: float64(r.Batched) / float64(max(1, r.Batches)),
		Course: Course{BinSeconds: g.Duration.Seconds() / bins, Bins: r.Bins}}
	for _, m := range g.Models {
		for _, v := range m.True.Variants() {
			name := v.Name
			if len(g.Models) > 1 {
				name = m.Name + "/" + v.Name
			}
			c.Course.Variants = append(c.Course.Variants, name)
		}
	}
	return c
}

// WriteTable prints the result as text: a block for each group, a line for each load
// and policy, then the capacities.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, seed %d\n%s\n", r.Scenario, r.Seed, r.Description)
	for _, group := range r.Groups() {
		fmt.Fprintf(w, "\n%s\n", group)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "items/s\tpolicy\tlate\tlate jobs\ton time/s\taccuracy\tleast over floor\tJCT mean ms\tp50\tp99\t")
		for _, load := range r.Loads(group) {
			for _, c := range r.Cells {
				if c.Group == group && c.Load == load {
					fmt.Fprintf(t, "%.4g\t%s\t%.2f %%\t%.2f %%\t%.1f\t%.4f\t%+.4f\t%.1f\t%.1f\t%.1f\t\n", c.Load, c.Policy, 100*c.LateShare,
						100*c.JobLateShare, c.Goodput, c.Accuracy, c.FloorMarginMin, c.JCTMeanMS, c.JCTP50MS, c.JCTP99MS)
				}
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if len(r.Comparison) > 0 {
		fmt.Fprintf(w, "\n%s misses its rule (late at most %g points above the best, then as accurate) in %d of %d cells", r.Policies[0],
			100*LateBand, r.Missed(), len(r.Comparison))
		for _, v := range r.Comparison {
			if v.Missed() {
				fmt.Fprintf(w, "\n  %s at %.4g/s: %+.2f points late (%s), %.4f less accurate (%s)", v.Group, v.Load, 100*v.LateExcess, v.Best, v.AccuracyShort, v.Rival)
			}
		}
		fmt.Fprintln(w)
	}
	if len(r.Capacity) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nhighest rate with at most %g %% late, and the fluid bound\n", 100*LateShareMax)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "group\tpolicy\titems/s\tbound\tof it\t")
	for _, c := range r.Capacity {
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%.0f %%\t\n", c.Group, c.Policy, c.Rate, c.Bound, 100*ratio(c.Rate, c.Bound))
	}
	return t.Flush()
}

// Groups returns the groups in order.
func (r *Result) Groups() []string {
	var groups []string
	for _, c := range r.Cells {
		if len(groups) == 0 || groups[len(groups)-1] != c.Group {
			groups = append(groups, c.Group)
		}
	}
	return groups
}

// Loads returns a group's loads in order.
func (r *Result) Loads(group string) []float64 {
	var loads []float64
	for _, c := range r.Cells {
		if c.Group == group && c.Policy == r.Policies[0] {
			loads = append(loads, c.Load)
		}
	}
	return loads
}
