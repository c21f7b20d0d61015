package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/stats"
)

// shown is the held-out sample of the request that is shown.
const shown = 0

// introduce prints what is compared, with an example.
func (d *demonstration) introduce() {
	m := d.Samples.Model
	fmt.Fprintf(d.Out, "Model %s: %s.\n", m.Name, strings.TrimSuffix(m.Description, "."))
	floor := "an accuracy"
	if title := m.Scoring.Title(); title != "accuracy" {
		floor = "a mean score (" + title + ")"
	}
	fmt.Fprintf(d.Out, "Every request carries %s, and asks for %s of at least %v within %v.\n\n",
		list(m.ModalityNames()), floor, d.floor, d.Deadline)
	fmt.Fprintf(d.Out, "One request (sample %d of %s, %s):\n", shown, d.Samples.Source(), m.Labelled(d.Samples.Set, shown))
	for i, in := range m.Inputs {
		fmt.Fprintf(d.Out, "  %-8s %s\n", in.Name, describe(in, d.Samples.Set.Item(shown)[i]))
	}
}

// show sends the example and prints the answer.
func (d *demonstration) show(ctx context.Context, policy string, s *Serving) error {
	job := replay.Job{Floor: d.floor, Deadline: 10 * d.Deadline, Samples: []int32{shown}} // the first request is slower: it opens a connection
	began := time.Now()
	answer, err := s.Infer(ctx, job)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if len(answer.Outputs) == 0 {
		return fmt.Errorf("the answer has no outputs")
	}
	result, err := d.Samples.Set.Score(answer.Outputs[0], 0, shown)
	if err != nil && d.Samples.Unmeasured() == "" {
		return err
	}
	d.Live("")
	fmt.Fprintf(d.Out, "  -> policy %-6s %s; ran %s; expected accuracy %.4f; %.1f ms, of which %.1f ms compute\n", policy+":",
		d.Samples.Model.Answered(result), list(answer.Modalities), answer.ExpectedAccuracy, stats.Milliseconds(took), stats.Milliseconds(answer.Compute))
	return nil
}

// WriteTable prints the result as a table.
func (r *Result) WriteTable(w io.Writer) error {
	all, mosel := r.Policies[0], r.Policies[1]
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(name, a, b, note string) {
		fmt.Fprintf(t, "%-38s\t%s\t%s\t%s\n", name, a, b, note)
	}
	line("", named(all), named(mosel), "")
	line("highest rate with 99 % on time", rate(all), rate(mosel), fmt.Sprintf("   %.1f times the throughput", r.ThroughputRatio))
	line("  not on time at that rate", late(all), late(mosel), "")
	line("  measured "+r.Metric+", held-out samples", r.measured(all, accuracy), r.measured(mosel, accuracy), fmt.Sprintf("   %v asked for", r.Floor))
	line("  95 % interval", r.measured(all, interval), r.measured(mosel, interval), "")
	name, ofAll, ofMosel := "  ran", mix(all), mix(mosel)
	for i := range max(len(ofAll), len(ofMosel)) {
		line(name, at(ofAll, i), at(ofMosel, i), "")
		name = ""
	}
	line(fmt.Sprintf("at %.0f/s, %.1f x the rate of %s:", r.OverloadRate, overloadFactor, all.Policy), "", "", "")
	line("  completion time, mean", mean(all), mean(mosel), fmt.Sprintf("   %.0f times shorter", r.JCTRatio))
	line("  completion time, 99 % below", p99(all), p99(mosel), "")
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range r.Policies {
		if g := p.Confirmed.Generator; g.LagShare > 0.05 {
			fmt.Fprintf(w, "\nPolicy %s: %.0f %% of the requests could not be sent on time; something else is busy on this machine.\n", p.Policy, 100*g.LagShare)
		}
	}
	for _, p := range r.Policies {
		if verdict := p.Confirmed.Accuracy.Verdict(); verdict != "" {
			fmt.Fprintf(w, "\nPolicy %s: %s\n", p.Policy, verdict)
		}
	}
	switch {
	case r.Unmeasured != "":
		fmt.Fprintf(w, "\n%s\n", r.Unmeasured)
	case r.MeasuredAccuracy < r.Floor:
		fmt.Fprintf(w, "\nThe measured %s is below the floor: the profile promised more than held-out samples show.\n", r.Metric)
	}
	return nil
}

// named returns the heading of a part's column.
func named(p PolicyPart) string {
	if p.Policy == Mixes {
		return "without cascades"
	}
	return "policy " + p.Policy
}

func rate(p PolicyPart) string { return fmt.Sprintf("%.0f/s", p.Rate) }
func late(p PolicyPart) string { return fmt.Sprintf("%.2f %%", 100*p.Confirmed.Items.LateShare) }
func mean(p PolicyPart) string { return fmt.Sprintf("%.1f ms", p.Overload.JCT.Mean) }
func p99(p PolicyPart) string  { return fmt.Sprintf("%.1f ms", p.Overload.JCT.P99) }

// measured is what cell says of a policy, "-" where nothing was measured.
func (r *Result) measured(p PolicyPart, cell func(PolicyPart) string) string {
	if r.Unmeasured != "" {
		return "-"
	}
	return cell(p)
}

func accuracy(p PolicyPart) string { return fmt.Sprintf("%.4f", p.Confirmed.Accuracy.Measured) }

func interval(p PolicyPart) string {
	return fmt.Sprintf("%.4f-%.4f", p.Confirmed.Accuracy.Low, p.Confirmed.Accuracy.High)
}

// mix returns the variants that ran most of the items.
func mix(p PolicyPart) (parts []string) {
	for _, v := range p.Confirmed.Variants {
		share := 100 * float64(v.Items) / float64(max(p.Confirmed.Served.Items, 1))
		if share >= 1 && len(parts) < 3 {
			parts = append(parts, fmt.Sprintf("%s %.0f %%", v.Variant, share))
		}
	}
	return parts
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// describe describes an input of the example.
func describe(in modelpkg.Input, data []byte) string {
	switch in.Media {
	case modelpkg.MediaText:
		if in.Tokens == nil {
			return fmt.Sprintf("%q", strings.TrimRight(string(data), "\x00"))
		}
		return fmt.Sprintf("the ids of a text, filled up to %d", len(data)/in.DType.Size())
	case modelpkg.MediaAudio:
		if seconds := float64(len(data)) / float64(in.DType.Size()) / float64(max(in.SampleRate, 1)); in.SampleRate > 0 {
			return fmt.Sprintf("%.2g s of sound at %d Hz", seconds, in.SampleRate)
		}
	case modelpkg.MediaImage:
		return fmt.Sprintf("an image, %v", in.Shape)
	case modelpkg.MediaNone:
	}
	return fmt.Sprintf("%v %v", in.DType, in.Shape)
}

// list returns "image, audio and text".
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
