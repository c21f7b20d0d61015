package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
	"github.com/spf13/cobra"
)

// jobFlags are the flags of `mosel job` and its commands.
type jobFlags struct {
	addr       string
	input      string
	floor      float64
	confidence float64
	deadline   time.Duration
	late       string
	key        string
	wait       bool
	from       int
	json       string
}

func jobCommand() *cobra.Command {
	var f jobFlags
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Submit durable jobs of many items, watch them, and read their results",
		Long: `A job is many items for one model, with one accuracy floor and one deadline for all
of them. The server stores a job before it accepts it, and each part of its results as
soon as it is computed: it goes on after a crash. The server must have been started
with --jobs or --nats.

If the server has tokens, put a token into the environment variable
` + tokenVariable + `.`,
		Example: `  mosel job submit digits --input data.npz --min-accuracy 0.97 --deadline 30s --wait
  mosel job status digits job-abc...
  mosel job results digits job-abc... > results.jsonl`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&f.addr, "addr", defaultAddr, "URL of the server")
	addJSONFlag(cmd.PersistentFlags(), &f.json)
	submit := f.command("submit MODEL", "Submit the arrays of an .npz file as a job", 1, f.submit)
	s := submit.Flags()
	s.StringVar(&f.input, "input", "", "`file` (.npz) with an array for each input, named like it; other arrays are ignored")
	s.Float64Var(&f.floor, "min-accuracy", 0, "least expected accuracy, as the mean over the items: 0.97")
	s.Float64Var(&f.confidence, "accuracy-confidence", 0, "how sure it must be that the accuracy is reached: 0.95")
	s.DurationVar(&f.deadline, "deadline", 0, "time until all results are needed; 0: no deadline")
	s.StringVar(&f.late, "late", "", "after the deadline: drop the items without result, or run them (default drop)")
	s.StringVar(&f.key, "key", "", "idempotency key: a second submission with the same key finds the first one's job")
	s.BoolVar(&f.wait, "wait", false, "wait until the job has ended, and show its progress")
	status := f.command("status MODEL JOB", "Show the state of a job", 2, f.status)
	status.Flags().BoolVar(&f.wait, "wait", false, "wait until the job has ended, and show its progress")
	results := f.command("results MODEL JOB", "Print a line of JSON for each item, as soon as its result is stored", 2, f.results)
	results.Flags().IntVar(&f.from, "from", 0, "first item to print")
	cmd.AddCommand(submit, status, results, f.command("cancel MODEL JOB", "End a job", 2, f.cancel), f.command("list MODEL", "List your jobs", 1, f.list))
	return cmd
}

// jobAction is what a command does with a server.
type jobAction func(cmd *cobra.Command, c *client.Client, args []string) error

// command makes a command that takes n arguments.
func (f *jobFlags) command(use, short string, n int, do jobAction) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != n {
				return usageError{fmt.Errorf("give %s\nSee '%s --help'", strings.Join(strings.Fields(use)[1:], " and "), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(f.addr)
			if err != nil {
				return err
			}
			defer c.Close()
			return do(cmd, c, args)
		},
	}
}

func (f *jobFlags) submit(cmd *cobra.Command, c *client.Client, args []string) error {
	if f.input == "" {
		return usageError{errors.New("name the file with the items: --input data.npz")}
	}
	about, err := c.Metadata(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	inputs, err := readItems(f.input, about)
	if err != nil {
		return err
	}
	job, err := c.SubmitJob(cmd.Context(), client.Request{Model: args[0], Inputs: inputs, MinAccuracy: f.floor, AccuracyConfidence: f.confidence,
		Deadline: f.deadline, Late: client.Late(f.late)}, f.key)
	if err != nil {
		return err
	}
	if f.wait {
		return f.follow(cmd, c, job)
	}
	return f.print(cmd, job)
}

// readItems reads those arrays of an .npz file that are inputs of the model.
func readItems(name string, about oip.ModelMetadata) ([]tensor.Tensor, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	there, err := modelpkg.ShapesNPZ(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var names []string
	for _, in := range about.Inputs {
		if _, ok := there[in.Name]; ok {
			names = append(names, in.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: none of its arrays (%s) is an input of %s", name, strings.Join(slices.Sorted(maps.Keys(there)), ", "), about.Name)
	}
	inputs, err := modelpkg.ReadNPZ(file, info.Size(), jobBytesMax, names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inputs, nil
}

// jobBytesMax bounds the arrays of a job that is submitted from a file. Servers usually
// take less in one request.
const jobBytesMax = 1 << 30

func (f *jobFlags) status(cmd *cobra.Command, c *client.Client, args []string) error {
	job, err := c.Job(cmd.Context(), args[0], args[1])
	if err != nil {
		return err
	}
	if f.wait {
		return f.follow(cmd, c, job)
	}
	return f.print(cmd, job)
}

// follow waits until a job has ended. A job that did not complete is an error.
func (f *jobFlags) follow(cmd *cobra.Command, c *client.Client, job oip.Job) error {
	line := newLiveLine(cmd.ErrOrStderr())
	began := time.Now()
	job, err := c.WaitJob(cmd.Context(), job.Model, job.ID, func(now oip.Job) { line.show(jobProgress(now, time.Since(began))) })
	line.show("")
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = fmt.Errorf("the job goes on: mosel job status %s %s", job.Model, job.ID)
		}
		return err
	}
	if err := f.print(cmd, job); err != nil {
		return err
	}
	if job.State != "completed" {
		return fmt.Errorf("job %s: %s", job.State, job.Reason)
	}
	return nil
}

func (f *jobFlags) results(cmd *cobra.Command, c *client.Client, args []string) error {
	out := cmd.OutOrStdout()
	job, err := c.JobResults(cmd.Context(), args[0], args[1], f.from, func(r client.JobResult) error {
		_, err := out.Write(append(bytes.TrimSpace(r.Line), '\n'))
		return err
	})
	if err == nil && job.State != "completed" {
		err = fmt.Errorf("job %s after %d of %d items: %s", job.State, job.Done, job.Items, job.Reason)
	}
	return err
}

func (f *jobFlags) cancel(cmd *cobra.Command, c *client.Client, args []string) error {
	job, err := c.CancelJob(cmd.Context(), args[0], args[1])
	if err != nil {
		return err
	}
	return f.print(cmd, job)
}

func (f *jobFlags) list(cmd *cobra.Command, c *client.Client, args []string) error {
	list, err := c.Jobs(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	return writeReport(f.json, cmd.OutOrStdout(), oip.JobList{Jobs: list}, func(out io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(out, "no jobs")
			return err
		}
		for _, job := range list {
			if _, err := fmt.Fprintf(out, "%s  %-9s  %7d of %d items  %s\n", job.ID, job.State, job.Done, job.Items, job.Submitted.Local().Format(time.DateTime)); err != nil {
				return err
			}
		}
		return nil
	})
}

// print prints a job.
func (f *jobFlags) print(cmd *cobra.Command, job oip.Job) error {
	return writeReport(f.json, cmd.OutOrStdout(), job, func(out io.Writer) error {
		_, err := io.WriteString(out, jobText(job))
		return err
	})
}

// jobText describes a job.
func jobText(job oip.Job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "job       %s\nstate     %s", job.ID, job.State)
	if job.Reason != "" {
		fmt.Fprintf(&b, ": %s", job.Reason)
	}
	fmt.Fprintf(&b, "\nitems     %d of %d done", job.Done, job.Items)
	if job.Failed > 0 {
		fmt.Fprintf(&b, ", %d of them failed", job.Failed)
	}
	if job.ExpectedAccuracy > 0 {
		fmt.Fprintf(&b, "\naccuracy  %.4f expected", job.ExpectedAccuracy)
		if job.MinAccuracy > 0 {
			fmt.Fprintf(&b, ", at least %v asked for", job.MinAccuracy)
		}
		fmt.Fprintf(&b, "\nran       %s", mixText(job))
	}
	switch {
	case !job.Ended.IsZero():
		fmt.Fprintf(&b, "\ntook      %v", job.Ended.Sub(job.Submitted).Round(time.Millisecond))
	case !job.PredictedFinish.IsZero():
		fmt.Fprintf(&b, "\nfinish    in about %v", max(0, time.Until(job.PredictedFinish)).Round(100*time.Millisecond))
	}
	b.WriteByte('\n')
	return b.String()
}

// mixText is the variants that answered, the most frequent first.
func mixText(job oip.Job) string {
	names := slices.SortedFunc(maps.Keys(job.Ran), func(a, b string) int {
		if d := job.Ran[b] - job.Ran[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	answered := max(1, job.Done-job.Failed)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.0f %%", name, 100*float64(job.Ran[name])/float64(answered))
	}
	return strings.Join(names, ", ")
}

// jobProgress is a line such as
// "████████············  40 %  1200 of 3000  410/s  text 100 %  4s left".
func jobProgress(job oip.Job, since time.Duration) string {
	const width = 20
	share := float64(job.Done) / float64(max(1, job.Items))
	full := int(share * width)
	text := fmt.Sprintf("%s%s %3.0f %%  %d of %d", strings.Repeat("█", full), strings.Repeat("·", width-full), 100*share, job.Done, job.Items)
	if job.Done > 0 && since > 0 {
		text += fmt.Sprintf("  %.0f/s  %s", float64(job.Done)/since.Seconds(), mixText(job))
	}
	if !job.PredictedFinish.IsZero() {
		text += fmt.Sprintf("  %v left", max(0, time.Until(job.PredictedFinish)).Round(time.Second))
	}
	if job.Reason != "" {
		text += "  " + job.Reason
	}
	return text
}
