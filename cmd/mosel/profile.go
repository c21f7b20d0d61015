package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/mosel-serve/mosel/internal/example"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/profiler"
	moselruntime "github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// profileFlags are those of `mosel profile`.
type profileFlags struct {
	models       string
	device       string
	providers    []modelpkg.Provider
	threads      int
	batches      []int
	quick        bool
	fresh        bool
	accuracyOnly bool
	show         bool
	feedback     string
	name         string
	keep         bool
	json         string
	picture      string
}

func profileCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "profile MODEL",
		Short: "Measure accuracy, latency and memory of every variant of a model",
		Long: `Measure every variant of a model on this machine: accuracy on the labelled set,
and latency and memory by batch size. Accuracy is the mean score of the package's
metric; with the metric external, scores are read from scores/<variant>.npy. Stages
that variants share are measured once, and a variant's latency is their sum. Write the
profile to profiles/<device>.json in the package, with a chart and the answers to all
samples beside it. MODEL is a directory, the name of one in ./models, or digits, the
built-in example.

Answers are saved while the command runs. After an interruption the same command
continues where it stopped. A repeated run uses the saved answers and measures only
the times again.

With --from-feedback nothing is run: a new profile gets its accuracies from labelled
answers of a server (see 'mosel feedback'), and its times from the existing profile. It
is used where it is named: 'mosel serve --device NAME'.`,
		Example: `  mosel profile my-model
  mosel profile digits --show
  mosel profile digits --show --plot digits.png
  mosel profile digits --from-feedback http://127.0.0.1:8000`,
		Args: oneModel,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.picture != "" {
				if err := plot.CheckFile(f.picture); err != nil {
					return usageError{err}
				}
			}
			dir, err := modelDir(args[0])
			if err != nil {
				return err
			}
			m, err := modelpkg.LoadIn(linksWithin(f.models, args[0], dir), dir)
			if err != nil {
				return err
			}
			switch {
			case f.feedback == "" && (f.name != "" || f.keep):
				return usageError{errors.New("--as and --keep-unlabelled need --from-feedback")}
			case f.feedback != "":
				return profileFromFeedback(cmd, m, f)
			case f.show:
				return showProfile(cmd, m, f)
			}
			return measureProfile(cmd, m, f)
		},
	}
	_, threads := moselruntime.Defaults(moselruntime.Cores())
	flags := cmd.Flags()
	addModelsFlag(cmd, &f.models)
	flags.StringVar(&f.device, "device", "", "name of the profile (default: this machine's processor, and the providers other than cpu)")
	addProvidersFlag(cmd, &f.providers)
	flags.IntVar(&f.threads, "threads", threads, "threads per instance; use the value that 'mosel serve' will use")
	flags.IntSliceVar(&f.batches, "batches", nil, "batch sizes to time (default: 1, 2, 4, ... up to the model's limit)")
	flags.BoolVar(&f.quick, "quick", false, "measure roughly: few runs on few samples")
	flags.BoolVar(&f.fresh, "fresh", false, "ignore saved answers and compute all again")
	flags.BoolVar(&f.accuracyOnly, "accuracy-only", false, "measure only accuracy; keep latency and memory of the existing profile")
	flags.BoolVar(&f.show, "show", false, "measure nothing: print the existing profile")
	flags.StringVar(&f.feedback, "from-feedback", "", "take accuracies from labelled answers: the `URL` of a server, or a file with its answer of /v2/models/MODEL/feedback")
	flags.StringVar(&f.name, "as", "", "with --from-feedback: `name` of the new profile (default: that of the existing one and -feedback)")
	flags.BoolVar(&f.keep, "keep-unlabelled", false, "with --from-feedback: variants with too few labels keep their accuracy of the existing profile")
	addJSONFlag(flags, &f.json)
	flags.StringVar(&f.picture, "plot", "", "draw accuracy against time into this .svg or .png file (default: an .svg beside a new profile)")
	return cmd
}

// showProfile prints the existing profile.
func showProfile(cmd *cobra.Command, m *modelpkg.Model, f profileFlags) error {
	p, err := modelpkg.FindProfileOn(m, f.device, f.providers)
	if err != nil {
		return err
	}
	if f.picture != "" {
		if err := drawProfile(m, p, f.picture); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "wrote", f.picture)
	}
	return printProfile(cmd.OutOrStdout(), m, p, f.json)
}

// measureProfile measures and writes a profile.
func measureProfile(cmd *cobra.Command, m *modelpkg.Model, f profileFlags) error {
	if m.Evaluation.Profile == "" {
		return slo.E("profile "+m.Name, slo.KindInvalid, "%s has no labelled set: add evaluation.profile", m.File(modelpkg.FileName))
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
	if slo.KindOf(err) == slo.KindNotFound && m.Name == example.Name {
		return fmt.Errorf("%w: the built-in example is without it, because it is large. A clone of the repository has it in models/%s", err, example.Name)
	}
	if err != nil {
		return err
	}
	o, err := f.options(m)
	if err != nil {
		return err
	}
	if m.Scoring.External() {
		if o.Scores, err = m.ExternalScores(set.Len()); err != nil {
			return err
		}
	}
	note := cmd.ErrOrStderr()
	opened := workerLog(cmd) // of the first opening
	open := func(ctx context.Context) (moselruntime.Runtime, error) {
		rt, err := server.OpenRuntime(ctx, ort.Config{Progress: note}, f.providers, opened)
		opened = nil
		if err != nil {
			return nil, err
		}
		return server.InPlace(rt, workerLog(cmd)), nil
	}
	rt, err := open(cmd.Context())
	if err != nil {
		return err
	}
	for _, w := range m.Warnings {
		fmt.Fprintln(note, "warning:", w)
	}
	origin := modelpkg.Origin{ModelDigest: m.Digest, DatasetDigest: set.Digest, Runtime: rt.Name(), RuntimeVersion: rt.Version(), Providers: f.providers}
	if err := rt.Close(); err != nil {
		return err
	}
	if !f.fresh && !m.Scoring.External() {
		if o.Answers, err = modelpkg.LoadSamples(m, origin, m.SamplesPath(o.Device)); err == nil {
			fmt.Fprintf(note, "using the saved answers of %d of %d variants; --fresh computes them again\n",
				len(o.Answers.Variants), len(m.Variants))
		}
	}
	o.Keep = func(s *modelpkg.Samples) error { return s.Save(m, m.SamplesPath(o.Device)) }
	line := newProgressLine(note)
	o.Progress = line.show
	fmt.Fprintf(note, "profiling %s: %d variants, %d samples, %s %s, threads: %d, device %s (%s)\n",
		m.Name, len(m.Variants), set.Len(), origin.Runtime, origin.RuntimeVersion, o.Threads, o.Device, o.Detail)
	result, err := profiler.Run(cmd.Context(), open, m, set, o)
	line.end()
	if err != nil {
		if slo.KindOf(err) == slo.KindCancelled {
			return fmt.Errorf("%w: run the same command again to continue", err)
		}
		return err
	}
	return f.finish(cmd, m, result)
}

// options makes the profiler's options from the flags.
func (f profileFlags) options(m *modelpkg.Model) (profiler.Options, error) {
	o := profiler.Default()
	if f.quick {
		o = profiler.Quick()
	}
	o.Device, o.Detail = modelpkg.Device(f.providers)
	o.Providers = f.providers
	if f.device != "" {
		if err := modelpkg.CheckDevice(f.device); err != nil {
			return o, usageError{err}
		}
		o.Device = f.device
	}
	o.Threads, o.Batches = f.threads, f.batches
	if f.accuracyOnly {
		timed, err := modelpkg.LoadProfile(m, m.ProfilePath(o.Device))
		if err != nil {
			return o, err
		}
		o.Timed = timed
	}
	return o, nil
}

// finish writes the profile and its chart, and prints the table.
func (f profileFlags) finish(cmd *cobra.Command, m *modelpkg.Model, result *profiler.Result) error {
	p, note := result.Profile, cmd.ErrOrStderr()
	path := m.ProfilePath(p.Device)
	if err := p.Save(path); err != nil {
		return err
	}
	picture := f.picture
	if picture == "" {
		picture = filepath.Join(filepath.Dir(path), p.Device+".svg")
	}
	if err := drawProfile(m, p, picture); err != nil {
		return err
	}
	if m.Scoring.External() {
		fmt.Fprintf(note, "wrote %s and %s\n\n", path, picture)
	} else {
		fmt.Fprintf(note, "wrote %s, %s and %s\n\n", path, m.SamplesPath(p.Device), picture)
	}
	if err := printProfile(cmd.OutOrStdout(), m, p, f.json); err != nil {
		return err
	}
	for _, w := range result.Warnings {
		fmt.Fprintln(note, "warning:", w)
	}
	return nil
}

// printProfile prints the profile as a table, or as --json asks for.
func printProfile(out io.Writer, m *modelpkg.Model, p *modelpkg.Profile, json string) error {
	return writeReport(json, out, p, func(out io.Writer) error {
		text, err := profileTable(m, p)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, text)
		return err
	})
}

// progressLine shows progress: as a bar on a terminal, elsewhere as a line every few
// seconds.
type progressLine struct {
	out  io.Writer
	bar  *progressbar.ProgressBar
	last time.Time
}

// plainEvery is the time between lines where the output is not a terminal.
const plainEvery = 5 * time.Second

func newProgressLine(out io.Writer) *progressLine {
	l := &progressLine{out: out, last: time.Now()}
	if _, screen := terminal(out); screen {
		l.bar = progressbar.NewOptions(1000, progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(false), progressbar.OptionFullWidth())
	}
	return l
}

func (l *progressLine) show(p profiler.Progress) {
	left := ""
	if p.Left > 0 {
		left = ", " + p.Left.Round(time.Second).String() + " left"
	}
	if l.bar != nil {
		l.bar.Describe(p.Stage + left)
		_ = l.bar.Set(int(1000 * p.Share)) // it can only fail to print
		return
	}
	if time.Since(l.last) >= plainEvery {
		l.last = time.Now()
		fmt.Fprintf(l.out, "%3.0f %%  %s%s\n", 100*p.Share, p.Stage, left)
	}
}

// end removes the bar.
func (l *progressLine) end() {
	if l.bar != nil {
		_ = l.bar.Clear() // it can only fail to print
	}
}
