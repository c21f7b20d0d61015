package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/workload"
)

// deadline is that of every request, far above what an answer takes: what is refused is
// refused for its floor.
const deadline = time.Second

// trial is one row: a load with a shift, sent to a server that is started for it.
type trial struct {
	name     string
	shifts   []string // none: nothing changes
	feedback bool
	passes   bool // the shift ends, and the load goes on for four times as long as it lasted
}

// trials are the rows. The classes, inputs and shares are of the example model.
func trials(withFeedback bool) []trial {
	rows := []trial{{name: "no shift", feedback: withFeedback}}
	for _, row := range []trial{
		{name: "pictures inverted", shifts: []string{"invert:image"}},
		{name: "90 % of three classes", shifts: []string{"labels:four,seven,nine:0.9"}},
		{name: "microphone x 0.1", shifts: []string{"gain:audio:0.1"}},
		{name: "words empty in 30 %", shifts: []string{"empty:text:0.3"}},
		{name: "inverted, comes and goes", shifts: []string{"invert:image"}, passes: true},
	} {
		if rows = append(rows, row); withFeedback {
			row.feedback = true
			rows = append(rows, row)
		}
	}
	return rows
}

// result is what was measured in a trial.
type result struct {
	trial
	before, during, after replay.Window // after: the second half of the time after it was noticed, or of the shift
	noticed               bool
	forgotten             bool
	end                   replay.Window // of a shift that passes: the last seconds
	reported              bool          // the server reports drift
	falseAlarm            bool          // it was noticed before the shift
}

// serve measures the trials and prints a row for each. What is being measured goes to live.
func serve(ctx context.Context, o options, samples *replay.Samples, out, live io.Writer) (kept bool, err error) {
	fmt.Fprintf(out, "\na real server, policy %s, %v items/s at a floor of %v, shadow runs of %s, labels of %v %% of the answers\n",
		o.policy, o.rate, o.floor, orNone(o.shadow), 100*o.feedback)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(row []string) {
		// The last column is aligned to the left: it is outside the table.
		fmt.Fprintf(table, "%s\t  %s\n", strings.Join(row[:len(row)-1], "\t"), row[len(row)-1])
	}
	line([]string{"shift", "feedback", "noticed after", "expected before", "measured until noticed", "expected after", "measured after", "refused", "bound"})
	kept = true
	for _, t := range trials(o.feedback > 0) {
		if !o.wants(t.name) {
			continue
		}
		fmt.Fprintf(live, "measuring: %s, feedback %s\n", t.name, onOff(t.feedback))
		r, err := t.run(ctx, o, samples)
		if err != nil {
			return false, errors.Join(table.Flush(), fmt.Errorf("%s: %w", t.name, err))
		}
		why := r.broken(o.floor)
		kept = kept && why == ""
		line(r.cells(why))
	}
	return kept, table.Flush()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// command is the server's command line.
func (t trial) command(o options) []string {
	command := []string{o.mosel, "serve", "--models", o.model, "--policy", o.policy, "--addr", "127.0.0.1:0", "--grpc-addr", "", "--metrics-addr", "", "--watch", "0"}
	if o.shadow != "" {
		command = append(command, "--shadow", o.shadow, "--on-drift", "replan")
	}
	if t.feedback {
		command = append(command, "--feedback")
	}
	return command
}

// load draws the jobs of a trial, and prepares its shift.
func (t trial) load(o options, samples *replay.Samples) ([]replay.Job, *replay.Shifted, error) {
	length := o.long
	until := time.Duration(0)
	if len(t.shifts) > 0 {
		length = o.before + o.during
	}
	if t.passes {
		until = length
		length += 4 * o.during
	}
	w := replay.Workload{Process: replay.Poisson, Rate: o.rate, Duration: length, JobSize: 1, Floors: replay.Fixed(o.floor),
		Deadlines: workload.Fixed(deadline.Seconds()), Late: slo.LateDrop, Seed: o.seed}
	jobs, err := w.Jobs(samples.Len(), samples.Set.Sizes)
	if err != nil || len(t.shifts) == 0 {
		return jobs, nil, err
	}
	var shifts []replay.Shift
	for _, text := range t.shifts {
		shift, err := replay.ParseShift(text)
		if err != nil {
			return nil, nil, err
		}
		shifts = append(shifts, shift)
	}
	shifted, err := samples.Shift(shifts, o.before, until, o.seed)
	if err != nil {
		return nil, nil, err
	}
	shifted.Draw(jobs)
	return jobs, shifted, nil
}

// run starts a server, sends the load and watches what the server reports.
func (t trial) run(ctx context.Context, o options, samples *replay.Samples) (*result, error) {
	jobs, shifted, err := t.load(o, samples)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, errors.New("the load is empty")
	}
	server, err := replay.StartServer(ctx, t.command(o))
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	ctx, cancel := server.Watch(ctx)
	defer cancel()
	target, err := replay.NewTarget(server.URL, samples, replay.ConcurrencyDefault)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	target.Shifted = shifted
	var labeller *replay.Labeller
	if t.feedback {
		if labeller, err = target.Label(ctx, o.feedback, o.seed); err != nil {
			return nil, err
		}
	}
	watcher, err := watch(ctx, server.URL)
	if err != nil {
		return nil, err
	}
	log := replay.Run(ctx, jobs, target.Send, replay.Options{Concurrency: replay.ConcurrencyDefault, Grace: replay.GraceDefault})
	seen, err := watcher.stop()
	_, err2 := labeller.Close()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return t.judge(log, seen, shifted, jobs[len(jobs)-1].At), nil
}

// settled is how long a load runs before it is measured: the first answers of a server
// take longer.
const settled = time.Second

// judge divides a run into the time before the shift, until it was noticed and after that.
func (t trial) judge(log *replay.Log, seen sighting, shifted *replay.Shifted, last time.Duration) *result {
	r := &result{trial: t, reported: seen.reported}
	end := last + 1
	if shifted == nil {
		at, noticed := seen.first(0, end)
		r.noticed, r.falseAlarm = noticed, noticed
		r.before = log.Between(0, at)
		r.after = log.Between(settled, end)
		return r
	}
	begin, until := shifted.From, end
	if shifted.Until > 0 {
		until = shifted.Until
	}
	_, r.falseAlarm = seen.first(0, begin)
	at, noticed := seen.first(begin, until)
	r.before, r.noticed = log.Between(settled, begin), noticed
	r.during = log.Between(begin, at)
	if !noticed {
		at = begin
	}
	r.after = log.Between(at+(until-at)/2, until)
	if t.passes {
		r.forgotten = !seen.changedAt(end)
		r.end = log.Between(end-(end-until)/4, end)
	}
	return r
}

// broken says which bound is missed; "" is none.
func (r *result) broken(floor float64) string {
	switch {
	case r.falseAlarm:
		return "a false alarm"
	case r.after.Answered == 0 && r.after.Infeasible == 0:
		return "nothing was answered"
	case r.after.Scored > 0 && r.after.High < floor:
		return fmt.Sprintf("below the floor of %v", floor)
	case !r.passes:
		return ""
	case !r.forgotten && r.noticed:
		return "not forgotten after the shift"
	case r.end.Infeasible > 0:
		return "still refused after the shift"
	}
	return ""
}

// cells are the row of the table.
func (r *result) cells(why string) []string {
	noticed := "-"
	switch {
	case !r.reported:
		noticed = "not reported"
	case r.falseAlarm:
		noticed = "before the shift"
	case r.noticed:
		noticed = fmt.Sprintf("%d items", r.during.Items)
	}
	bound := "ok"
	if why != "" {
		bound = "MISSED: " + why
	}
	refused := "-"
	if r.after.Items > 0 {
		refused = fmt.Sprintf("%.1f %%", 100*float64(r.after.Infeasible)/float64(r.after.Items))
	}
	return []string{r.name, onOff(r.feedback), noticed, expected(r.before), measured(r.during), expected(r.after), measured(r.after), refused, bound}
}

func expected(w replay.Window) string {
	if w.Answered == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f", w.Expected)
}

func measured(w replay.Window) string {
	if w.Scored == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4f [%.3f, %.3f]", w.Measured, w.Low, w.High)
}
