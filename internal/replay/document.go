package replay

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// DocumentFormat is the version of Document's JSON form.
const DocumentFormat = 1

// Document is what `mosel replay --json` writes: one workload and the reports
// of its runs, one per policy.
type Document struct {
	Format   int      `json:"format"`
	Model    string   `json:"model"`
	Samples  string   `json:"samples"` // the labelled set the samples came from
	Metric   string   `json:"metric"`  // what the accuracies are, in words
	Workload Facts    `json:"workload"`
	Runs     []RunOut `json:"runs"`
	// Unmeasured says why nothing was measured of the metric; "" if it was.
	Unmeasured string `json:"unmeasured,omitempty"`
}

// RunOut is the report of one run.
type RunOut struct {
	Policy string `json:"policy"` // "" for the server at --addr
	Server string `json:"server"`
	Report Report `json:"report"`
	// Labelled is how many items got a label afterwards, with --feedback.
	Labelled int `json:"labelled,omitempty"`
	// Timeline is the run over time; nil if nobody asked for it.
	Timeline *Timeline `json:"timeline,omitempty"`
}

// Facts describe a workload so that it can be repeated.
type Facts struct {
	Process         Process `json:"process"`
	Rate            float64 `json:"rate"`  // items per second, 0 for a trace
	Trace           string  `json:"trace"` // its file, "" for a constant rate
	Scale           float64 `json:"scale"` // of the trace
	Seconds         float64 `json:"seconds"`
	Warmup          float64 `json:"warmup_seconds"`
	JobSize         string  `json:"job_size"`     // "1", "paper"
	MinAccuracy     string  `json:"min_accuracy"` // "0.97", "uniform:0.9:0.98", "0" for none
	DeadlineSeconds string  `json:"deadline_seconds"`
	Late            string  `json:"late"`
	Seed            uint64  `json:"seed"`
	// Shifts are the changes of the data, and when they hold; none without --shift.
	Shifts     []string `json:"shifts,omitempty"`
	ShiftFrom  float64  `json:"shift_from_seconds,omitempty"`
	ShiftUntil float64  `json:"shift_until_seconds,omitempty"` // 0: to the end
}

// Shift notes the shifts of a run; nil: none.
func (f *Facts) Shift(s *Shifted) {
	if s != nil {
		f.Shifts, f.ShiftFrom, f.ShiftUntil = s.texts, s.From.Seconds(), s.Until.Seconds()
	}
}

// Facts describes the workload. The trace's file and scale are the caller's to add.
func (w Workload) Facts(warmup time.Duration) Facts {
	size := "paper"
	if w.JobSize != PaperSize {
		size = fmt.Sprint(w.JobSize)
	}
	return Facts{Process: w.Process, Rate: w.Rate, Seconds: w.Duration.Seconds(), Warmup: warmup.Seconds(), JobSize: size,
		MinAccuracy: w.Floors.String(), DeadlineSeconds: w.Deadlines.String(), Late: w.Late.String(), Seed: w.Seed}
}

// WriteTable prints the runs side by side, one column each, and below them the reasons
// to doubt the numbers.
func (d Document) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	rows := d.rows()
	width := 0
	for _, row := range rows {
		width = max(width, len(row.name))
	}
	for _, row := range rows {
		fmt.Fprintf(table, "%-*s\t%s\t\n", width, row.name, strings.Join(row.cells, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := d.writeTimelines(w); err != nil {
		return err
	}
	if d.Unmeasured != "" {
		fmt.Fprintln(w, d.Unmeasured)
	}
	for _, run := range d.Runs {
		for _, warning := range run.warnings() {
			fmt.Fprintln(w, warning)
		}
	}
	return nil
}

// row is one line of the table.
type row struct {
	name  string
	cells []string
}

// rows builds the table from the reports.
func (d Document) rows() []row {
	var rows []row
	line := func(name string, cell func(RunOut) string) {
		r := row{name: name}
		for _, run := range d.Runs {
			r.cells = append(r.cells, cell(run))
		}
		rows = append(rows, r)
	}
	number := func(name, format string, of func(Report) float64) {
		line(name, func(r RunOut) string { return fmt.Sprintf(format, of(r.Report)) })
	}
	share := func(name string, of func(Outcomes) int, always bool) {
		if always || slices.ContainsFunc(d.Runs, func(r RunOut) bool { return of(r.Report.Items) > 0 }) {
			line(name, func(r RunOut) string { return percent(of(r.Report.Items), r.Report.Offered.Items) })
		}
	}
	if slices.ContainsFunc(d.Runs, func(r RunOut) bool { return r.Policy != "" }) {
		line("policy", func(r RunOut) string { return r.Policy })
	}
	number("offered items/s", "%.1f", func(r Report) float64 { return r.Offered.ItemsPerSecond })
	number("served items/s", "%.1f", func(r Report) float64 { return r.Served.ItemsPerSecond })
	share("on time", func(o Outcomes) int { return o.OnTime }, true)
	share("late", func(o Outcomes) int { return o.Late }, true)
	share("shed", func(o Outcomes) int { return o.Shed }, true)
	share("infeasible", func(o Outcomes) int { return o.Infeasible }, false)
	share("cancelled", func(o Outcomes) int { return o.Cancelled }, false)
	share("failed", func(o Outcomes) int { return o.Failed }, false)
	line("measured "+d.Metric, func(r RunOut) string { return accuracyCell(r.Report.Accuracy) })
	number("expected "+d.Metric, "%.4f", func(r Report) float64 { return r.Accuracy.Expected })
	number("floor asked for", "%.4f", func(r Report) float64 { return r.Accuracy.Floor })
	number("JCT mean ms", "%.1f", func(r Report) float64 { return r.JCT.Mean })
	number("JCT p50 ms", "%.1f", func(r Report) float64 { return r.JCT.P50 })
	number("JCT p99 ms", "%.1f", func(r Report) float64 { return r.JCT.P99 })
	for _, name := range d.variantNames() {
		line("items on "+name, func(r RunOut) string {
			at := slices.IndexFunc(r.Report.Variants, func(v VariantItems) bool { return v.Variant == name })
			if at < 0 {
				return "-"
			}
			return percent(r.Report.Variants[at].Items, r.Report.Served.Items)
		})
	}
	return rows
}

// variantNames lists the variants of all runs, in the order of appearance.
func (d Document) variantNames() []string {
	var names []string
	for _, run := range d.Runs {
		for _, v := range run.Report.Variants {
			if !slices.Contains(names, v.Variant) {
				names = append(names, v.Variant)
			}
		}
	}
	return names
}

// warnings returns the reasons to doubt a run, and its failures.
func (r RunOut) warnings() []string {
	var out []string
	say := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if r.Policy != "" {
			text = r.Policy + ": " + text
		}
		out = append(out, text)
	}
	g := r.Report.Generator
	if r.Report.EndedSoon {
		say("ended before the last arrival; the numbers cover what was sent.")
	}
	if g.LagShare > 0.01 && g.InFlightMax >= g.Concurrency {
		say("%.1f %% of requests were sent more than 5 ms late because %d were in flight: raise --concurrency.", 100*g.LagShare, g.Concurrency)
	} else if g.LagShare > 0.01 {
		say("%.1f %% of requests were sent more than 5 ms late: the generator (%.2f cores) did not get the processor it needs.", 100*g.LagShare, g.CPU)
	}
	if verdict := r.Report.Accuracy.Verdict(); verdict != "" {
		say("%s", verdict)
	}
	if a := r.Report.Accuracy; a.BelowFloor > 0 {
		say("%d jobs were promised less than they asked for: please report this.", a.BelowFloor)
	}
	for _, f := range r.Report.Failures {
		say("%d jobs without a result: %s", f.Jobs, f.Message)
	}
	return out
}

// accuracyCell prints "0.9712 [0.9630, 0.9776]".
func accuracyCell(a Accuracy) string {
	if a.Items == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f [%.4f, %.4f]", a.Measured, a.Low, a.High)
}

// percent formats a share with one decimal, or two if it is small.
func percent(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	share := 100 * float64(part) / float64(whole)
	if part > 0 && share < 1 {
		return fmt.Sprintf("%.2f %%", share)
	}
	return fmt.Sprintf("%.1f %%", share)
}
