package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
	"github.com/spf13/cobra"
)

// initFlags are those of `mosel init`.
type initFlags struct {
	options proposal.Options
	most    []string
	shapes  []string
	split   float64
	seed    uint64
	output  string
	json    string
	noRun   bool
}

func initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a first mosel.yaml for a directory of ONNX graphs",
		Long: `Write a first mosel.yaml for the ONNX graphs in a directory, and for the labelled
samples (.npz) that lie beside them. Names and inputs of the graphs say which
modalities and variants there are; outputs and labels say which metric fits. A
graph that reads an output of another one becomes a stage. A tokenizer.json beside
the graphs is used for ids; an input with a mask whose length varies gets buckets.
Comments in the file give the reasons.

The file is written only if "mosel check" accepts it. Otherwise the command
prints what you must decide, with the possible answers, and writes nothing. An
existing file is never replaced. docs/own-model.md shows the whole way from
PyTorch, scikit-learn, XGBoost or Keras to a served model.`,
		Example: `  mosel init my-model
  mosel init my-model --split 0.5             # samples.npz becomes eval/profile.npz and eval/heldout.npz
  mosel init my-model --metric '{name: within, tolerance: 0.5}' --max input_ids=512
  mosel init my-model --output -              # print it and write nothing`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one directory with ONNX graphs\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.options.Name, "name", "", "name of the model (default: the directory's)")
	flags.StringVar(&f.options.Metric, "metric", "", "metric, as mosel.yaml has it: accuracy, '{name: within, tolerance: 0.5}'")
	flags.StringVar(&f.options.Scored, "scored", "", "the output that the metric scores")
	flags.StringArrayVar(&f.most, "max", nil, "INPUT=SIZE: the largest size of the dimension that varies")
	flags.StringArrayVar(&f.shapes, "shape", nil, "TENSOR=SIZE,...: the shape, without the batch, that the graphs leave open")
	flags.StringVar(&f.options.Profile, "profile", "", "labelled samples to measure on, a path inside DIR")
	flags.StringVar(&f.options.HeldOut, "heldout", "", "labelled samples that are used for nothing else, a path inside DIR")
	flags.Float64Var(&f.split, "split", 0, "share of the samples to profile on; the rest is held out (writes eval/profile.npz and eval/heldout.npz)")
	flags.Uint64Var(&f.seed, "seed", 1, "with --split: another number draws other samples")
	flags.StringVar(&f.output, "output", "", "file to write (default: DIR/mosel.yaml); - prints it and writes nothing")
	addJSONFlag(flags, &f.json)
	flags.BoolVar(&f.noRun, "no-run", false, "do not run the graphs")
	return cmd
}

func (f initFlags) run(cmd *cobra.Command, dir string) error {
	if err := f.parse(cmd); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a directory: name the one that has the ONNX graphs", dir)
	}
	file := f.output
	if file == "" {
		file = filepath.Join(dir, modelpkg.FileName)
	}
	if file != "-" && exists(file) {
		return fmt.Errorf("%s is there already and is not replaced: \"--output -\" prints what would be written", file)
	}
	p, err := proposal.For(dir, f.options)
	if err != nil {
		return err
	}
	undo := func() {}
	if f.split != 0 && len(p.Decisions) == 0 {
		if undo, err = p.Split(dir, f.split, f.seed); err != nil {
			return err
		}
	}
	r := initReport{Dir: dir, Proposal: p, Problems: []string{}, Warnings: []string{}, Graphs: "not run"}
	if len(p.Decisions) == 0 {
		if err := r.check(cmd, f.noRun); err != nil {
			undo()
			return err
		}
	}
	if r.open() == 0 && file != "-" {
		if err := writeNew(file, p.YAML()); err != nil {
			undo()
			return err
		}
		r.Wrote = file
	}
	if r.open() > 0 {
		undo()
	}
	return r.print(cmd, f)
}

// parse reads the flags that have a form of their own.
func (f *initFlags) parse(cmd *cobra.Command) error {
	given := cmd.Flags().Changed("split")
	switch {
	case given && !(f.split > 0 && f.split < 1):
		return usageError{fmt.Errorf("--split is %v; it must be a share above 0 and below 1, such as 0.5", f.split)}
	case given && f.output == "-":
		return usageError{errors.New("--split writes files, and \"--output -\" writes none: leave out one of them")}
	case f.options.HeldOut != "" && f.options.Profile == "":
		return usageError{errors.New("--heldout needs --profile: name both files")}
	case f.json == standardOutput && f.output == standardOutput:
		return usageError{errors.New("--json and \"--output -\" both print to standard output: leave out one of them")}
	}
	f.options.Max, f.options.Shapes = map[string]int64{}, map[string]tensor.Shape{}
	for _, text := range f.most {
		name, sizes, err := namedSizes(text)
		if err != nil || len(sizes) != 1 {
			return usageError{fmt.Errorf("--max %q must be INPUT=SIZE, such as input_ids=512", text)}
		}
		f.options.Max[name] = sizes[0]
	}
	for _, text := range f.shapes {
		name, sizes, err := namedSizes(text)
		if err != nil {
			return usageError{fmt.Errorf("--shape %q must be TENSOR=SIZE,SIZE,..., such as pixel_values=3,224,224", text)}
		}
		f.options.Shapes[name] = sizes
	}
	return nil
}

// namedSizes reads NAME=SIZE,SIZE. The name may have "=" in it.
func namedSizes(text string) (name string, sizes tensor.Shape, err error) {
	at := strings.LastIndex(text, "=")
	if at < 1 {
		return "", nil, errors.New("no name")
	}
	for part := range strings.SplitSeq(text[at+1:], ",") {
		size, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32)
		if err != nil || size < 1 {
			return "", nil, fmt.Errorf("%q is no size", part)
		}
		sizes = append(sizes, size)
	}
	return text[:at], sizes, nil
}

// initReport is the result, which --json prints.
type initReport struct {
	Dir      string   `json:"dir"`
	Wrote    string   `json:"wrote,omitempty"`
	Graphs   string   `json:"graphs_run"`
	Problems []string `json:"problems"` // as "mosel check" would print them
	Warnings []string `json:"warnings"`
	*proposal.Proposal
}

// open counts the reasons not to write the file.
func (r *initReport) open() int { return len(r.Decisions) + len(r.Problems) }

// check does what `mosel check` would with the file.
func (r *initReport) check(cmd *cobra.Command, noRun bool) error {
	found := modelpkg.CheckText(r.Dir, r.YAML())
	if len(found.Problems) == 0 && !noRun {
		ran, err := checkFlags{}.tryGraphs(cmd, &found)
		if err != nil {
			return err
		}
		r.Graphs = ran
	}
	for _, p := range found.Problems {
		r.Problems = append(r.Problems, p.String())
	}
	r.Warnings = append(r.Warnings, found.Warnings...)
	return nil
}

func (r *initReport) print(cmd *cobra.Command, f initFlags) error {
	out := cmd.OutOrStdout()
	if f.json != "" {
		if err := writeJSON(f.json, out, r); err != nil {
			return err
		}
	}
	switch {
	case f.json == standardOutput:
	case f.output == "-":
		if _, err := out.Write(r.YAML()); err != nil {
			return err
		}
		r.say(cmd.ErrOrStderr())
	default:
		r.say(out)
	}
	switch n := r.open(); {
	case n == 0:
		return nil
	case len(r.Decisions) > 0:
		return fmt.Errorf("nothing was written; decisions to make: %d", n)
	default:
		return fmt.Errorf("nothing was written; problems: %d", n)
	}
}

// say prints what was found and the next step.
func (r *initReport) say(out io.Writer) {
	for _, line := range r.Report() {
		fmt.Fprintln(out, "found", line)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	for i, d := range r.Decisions {
		fmt.Fprintf(out, "\n%d. %s: %s\n", i+1, d.About, d.Why)
		for _, a := range d.Answers {
			fmt.Fprintln(out, "   -", a)
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintln(out, "problem:", p)
	}
	if r.Wrote == "" {
		return
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	names := make([]string, len(r.Variants))
	for i, v := range r.Variants {
		names[i] = v.Name
	}
	fmt.Fprintf(out, "wrote %s: variants %s; metric %s; graphs %s\n", r.Wrote, strings.Join(names, ", "), r.Metric.Text, r.Graphs)
	if r.Profile == "" {
		fmt.Fprintf(out, "next: save labelled samples as %s; docs/own-model.md says how\n", filepath.Join(r.Dir, "eval", "profile.npz"))
		return
	}
	fmt.Fprintf(out, "next: read its comments, then run \"mosel profile %s\"\n", r.Dir)
}

// writeNew writes a file that must not be there.
func writeNew(name string, text []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not replaced", name)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
