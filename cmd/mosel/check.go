package main

import (
	"errors"
	"fmt"
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
	out := cmd.OutOrStdout()
	found := modelpkg.CheckIn(linksWithin(f.models, arg, dir), dir)
	ran := "not run (--no-run)"
	if len(found.Problems) == 0 && !f.noRun {
		if ran, err = f.tryGraphs(cmd, &found); err != nil {
			return err
		}
	}
	for _, p := range found.Problems {
		fmt.Fprintln(out, p)
	}
	for _, w := range found.Warnings {
		fmt.Fprintln(out, "warning:", w)
	}
	switch n := len(found.Problems); n {
	case 0:
	case 1:
		return fmt.Errorf("%s has 1 problem", dir)
	default:
		return fmt.Errorf("%s has %d problems", dir, n)
	}
	m := found.Model
	fmt.Fprintf(out, "%s is valid: %s %s, modalities %s, %d variants; graphs: %s\n",
		dir, m.Name, m.Version, strings.Join(m.ModalityNames(), ", "), len(m.Variants), ran)
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
