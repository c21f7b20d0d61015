package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/profiler"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/spf13/cobra"
)

// checkFlags are those of `mosel check`.
type checkFlags struct {
	models    string
	noRun     bool
	providers []modelpkg.Provider
	json      string
}

func checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check MODEL",
		Short: "Check a model package: mosel.yaml, graphs, evaluation sets, profiles",
		Long: `Check a model package and print every problem with its file and line. MODEL is a
directory, the name of one in ./models, or digits, the built-in example.
docs/model-package.md describes the format.

If ONNX Runtime is installed, every graph also runs on a few samples: one at a
time, in a batch of 2 and, if that is quick, in the largest batch. The outputs must
match their declaration, and an item's answer must not depend on the other items
of its batch. Nothing is downloaded; "mosel runtime install" installs the library.

Warnings begin with "warning:". They are not problems.`,
		Example: `  mosel check my-model
  mosel check digits --no-run`,
		Args: oneModel,
		RunE: func(cmd *cobra.Command, args []string) error { return f.check(cmd, args[0]) },
	}
	cmd.Flags().BoolVar(&f.noRun, "no-run", false, "do not run the graphs")
	addModelsFlag(cmd, &f.models)
	addProvidersFlag(cmd, &f.providers)
	addJSONFlag(cmd.Flags(), &f.json)
	return cmd
}

// addModelsFlag adds the flag for the directory that links of a package may lead into.
func addModelsFlag(cmd *cobra.Command, models *string) {
	cmd.Flags().StringVar(models, "models", "", "links in the package may lead into this directory (default: the package itself; ./models if MODEL is a name in it)")
}

// linksWithin returns the directory that links of a package may lead into.
func linksWithin(models, arg, dir string) string {
	if models == "" && arg != dir { // a name in ./models
		return filepath.Dir(dir)
	}
	return models
}

func (f checkFlags) check(cmd *cobra.Command, arg string) error {
	dir, err := modelDir(arg)
	if err != nil {
		return err
	}
	found := modelpkg.CheckIn(linksWithin(f.models, arg, dir), dir)
	ran := "not run (--no-run)"
	if len(found.Problems) == 0 && !f.noRun {
		if ran, err = f.tryGraphs(cmd, &found); err != nil {
			return err
		}
	}
	r := newCheckReport(dir, ran, found)
	if err := writeReport(f.json, cmd.OutOrStdout(), r, r.print); err != nil {
		return err
	}
	if n := len(found.Problems); n > 0 {
		return fmt.Errorf("%s has %s", dir, counted(n, "problem"))
	}
	return nil
}

// checkReport is what "mosel check --json" prints. The fields from Name on are there
// only if the package is valid.
type checkReport struct {
	Directory  string         `json:"directory"`
	Valid      bool           `json:"valid"`
	Problems   []checkProblem `json:"problems"`
	Warnings   []string       `json:"warnings"`
	Name       string         `json:"name,omitempty"`
	Version    string         `json:"version,omitempty"`
	Modalities []string       `json:"modalities,omitempty"`
	Variants   int            `json:"variants,omitempty"`
	Graphs     string         `json:"graphs_run,omitempty"` // what was run, or why nothing was
}

// checkProblem is one mistake in a package, and its place.
type checkProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1; 0: the file as a whole
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func newCheckReport(dir, ran string, found modelpkg.Findings) checkReport {
	r := checkReport{Directory: dir, Valid: len(found.Problems) == 0, Problems: []checkProblem{}, Warnings: append([]string{}, found.Warnings...)}
	for _, p := range found.Problems {
		r.Problems = append(r.Problems, checkProblem(p))
	}
	if m := found.Model; r.Valid {
		r.Name, r.Version, r.Modalities, r.Variants, r.Graphs = m.Name, m.Version, m.ModalityNames(), len(m.Variants), ran
	}
	return r
}

func (r checkReport) print(out io.Writer) error {
	for _, p := range r.Problems {
		fmt.Fprintln(out, modelpkg.Problem(p))
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	if r.Valid {
		fmt.Fprintf(out, "%s is valid: %s %s, modalities %s, %d variants; graphs: %s\n",
			r.Directory, r.Name, r.Version, strings.Join(r.Modalities, ", "), r.Variants, r.Graphs)
	}
	return nil
}

// tryGraphs runs the graphs on samples and adds its findings to found. ran says
// what was done.
func (f checkFlags) tryGraphs(cmd *cobra.Command, found *modelpkg.Findings) (ran string, err error) {
	rt, err := ort.Open(cmd.Context(), ort.Config{NoInstall: true})
	if kind := slo.KindOf(err); err != nil && (kind == slo.KindNotFound || kind == slo.KindUnsupported) {
		return "not run, because ONNX Runtime is not installed (\"mosel runtime install\" installs it)", nil
	}
	if err != nil {
		return "", err
	}
	if err := rt.Use(f.providers, workerLog(cmd)); err != nil {
		return "", errors.Join(err, rt.Close())
	}
	m := found.Model
	var set *modelpkg.Set
	if m.Evaluation.Profile != "" {
		set, err = modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
		if slo.KindOf(err) == slo.KindNotFound && m.Evaluation.HeldOut != "" { // found has a warning
			set, err = modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
		}
		if err != nil {
			return "", errors.Join(err, rt.Close())
		}
	}
	trial, err := profiler.Try(cmd.Context(), server.InPlace(rt, workerLog(cmd)), m, set)
	if err = errors.Join(err, rt.Close()); err != nil {
		return "", err
	}
	found.Problems = append(found.Problems, trial.Problems...)
	found.Warnings = append(found.Warnings, trial.Warnings...)
	ran = fmt.Sprintf("run on samples with %s %s", rt.Name(), rt.Version())
	if f.providers != nil {
		ran += ", providers " + modelpkg.ProviderNames(f.providers)
	}
	return ran, nil
}

// oneModel accepts the arguments of commands that work on one package.
func oneModel(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one model package: a directory, a name in ./models, or the built-in example, digits\nSee '%s --help'", cmd.CommandPath())}
	}
	return nil
}
