package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plot"
	"github.com/mosel-serve/mosel/internal/profiler"
	moselruntime "github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// profileFlags are those of `mosel profile`.
type profileFlags struct {
	models       string
	device       string
	threads      int
	batches      []int
	quick        bool
	fresh        bool
	accuracyOnly bool
	show         bool
	json         string
	picture      string
}

func profileCommand() *cobra.Command {
	var f profileFlags
	cmd := &cobra.Command{
		Use:   "profile MODEL",
		Short: "Measure accuracy, latency and memory of every variant of a model",
		Long: `Measure every variant of a model on this machine: accuracy, which is the mean
score of the package's metric, over its labelled set, latency and memory by batch
size. With the metric external, scores are read from scores/<variant>.npy. Writes profiles/<device>.json in the
package, a picture and the answer to every sample beside it. MODEL is a
directory, the name of one in ./models, or digits, the built-in example.

Answers are kept, also by a run that is interrupted: the same command goes on
where it was, and a repeated one only takes the times again.`,
		Example: `  mosel profile my-model
  mosel profile digits --show
  mosel profile digits --show --plot digits.png`,
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
			if f.show {
				return showProfile(cmd, m, f)
			}
			return measureProfile(cmd, m, f)
		},
	}
	_, threads := moselruntime.Defaults(runtime.GOMAXPROCS(0))
	flags := cmd.Flags()
	addModelsFlag(cmd, &f.models)
	flags.StringVar(&f.device, "device", "", "name of the profile (default: this machine's processor)")
	flags.IntVar(&f.threads, "threads", threads, "threads of one instance, as will serve")
	flags.IntSliceVar(&f.batches, "batches", nil, "batch sizes to time (default: 1, 2, 4, ... up to the model's limit)")
	flags.BoolVar(&f.quick, "quick", false, "a first look: few runs over few samples")
	flags.BoolVar(&f.fresh, "fresh", false, "compute all answers again")
	flags.BoolVar(&f.accuracyOnly, "accuracy-only", false, "keep the latencies and memory of the profile there is")
	flags.BoolVar(&f.show, "show", false, "measure nothing: print the profile there is")
	flags.StringVar(&f.json, "json", "", "also write the profile to this file; - is standard output, without the table")
	flags.StringVar(&f.picture, "plot", "", "draw accuracy over cost as .svg or .png (default: beside the profile when measuring)")
	return cmd
}

// showProfile prints the profile there is.
func showProfile(cmd *cobra.Command, m *modelpkg.Model, f profileFlags) error {
	p, err := modelpkg.FindProfile(m, f.device)
	if err != nil {
		return err
	}
	if f.picture != "" {
		if err := drawProfile(m, p, f.picture); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "drew", f.picture)
	}
	return printProfile(cmd.OutOrStdout(), m, p, f.json)
}

// measureProfile makes a profile.
func measureProfile(cmd *cobra.Command, m *modelpkg.Model, f profileFlags) error {
	if m.Evaluation.Profile == "" {
		return slo.E("profile "+m.Name, slo.KindInvalid, "%s names no labelled set: add evaluation.profile", m.File(modelpkg.FileName))
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
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
	open := func(ctx context.Context) (moselruntime.Runtime, error) {
		return ort.Open(ctx, ort.Config{Progress: note})
	}
	rt, err := open(cmd.Context())
	if err != nil {
		return err
	}
	for _, w := range m.Warnings {
		fmt.Fprintln(note, "look:", w)
	}
	origin := modelpkg.Origin{ModelDigest: m.Digest, DatasetDigest: set.Digest, Runtime: rt.Name(), RuntimeVersion: rt.Version()}
	if err := rt.Close(); err != nil {
		return err
	}
	if !f.fresh && !m.Scoring.External() {
		if o.Answers, err = modelpkg.LoadSamples(m, origin, m.SamplesPath(o.Device)); err == nil {
			fmt.Fprintf(note, "the answers of %d of %d variants are known and kept; --fresh computes them again\n",
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
			return fmt.Errorf("%w: the same command goes on where it was", err)
		}
		return err
	}
	return f.finish(cmd, m, result)
}

// options are the profiler's, as the flags say.
func (f profileFlags) options(m *modelpkg.Model) (profiler.Options, error) {
	o := profiler.Default()
	if f.quick {
		o = profiler.Quick()
	}
	o.Device, o.Detail = modelpkg.Device()
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

// finish writes the profile and what goes with it.
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
		fmt.Fprintln(note, "look:", w)
	}
	return nil
}

// printProfile writes the profile as JSON where it is wanted, and as a table
// unless the JSON takes its place.
func printProfile(out io.Writer, m *modelpkg.Model, p *modelpkg.Profile, jsonFile string) error {
	if jsonFile != "" {
		if err := writeJSON(jsonFile, out, p); err != nil || jsonFile == "-" {
			return err
		}
	}
	text, err := profileTable(m, p)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// progressLine shows progress as a bar on a terminal, elsewhere as a plain line
// now and then.
type progressLine struct {
	out  io.Writer
	bar  *progressbar.ProgressBar
	last time.Time
}

// plainEvery is how often a log gets a line.
const plainEvery = 5 * time.Second

func newProgressLine(out io.Writer) *progressLine {
	l := &progressLine{out: out, last: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
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
		_ = l.bar.Clear() // likewise
	}
}
