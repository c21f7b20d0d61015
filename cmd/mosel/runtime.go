package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
)

func runtimeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "runtime",
		Short: "Show or install the ONNX Runtime library that runs the graphs",
		Long: `Show or install the shared library ONNX Runtime, which runs the graphs. mosel uses
the first that exists: the file that the environment variable ` + library.EnvironmentVariable + `
names, a library in the usual system directories, a library in the user's cache.

If there is none, release ` + library.Version + ` is installed into the cache when it is first needed:
from the official release or, if that cannot be reached, through pip or npm.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(runtimeInstallCommand(), runtimeShowCommand())
	return c
}

// noArguments refuses all arguments. For a command with subcommands, the error names
// the mistyped one.
func noArguments(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
	}
	return nil
}

func runtimeInstallCommand() *cobra.Command {
	var asJSON string
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the library if there is none, load it, and print its path",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := openRuntime(cmd, ort.Config{Progress: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			return writeReport(asJSON, cmd.OutOrStdout(), report, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, report.Path)
				return err
			})
		},
	}
	addJSONFlag(c.Flags(), &asJSON)
	return c
}

func runtimeShowCommand() *cobra.Command {
	var asJSON string
	c := &cobra.Command{
		Use:   "show",
		Short: "Print which library is used, its version, and where it was found",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := openRuntime(cmd, ort.Config{NoInstall: true})
			if err != nil {
				return err
			}
			return writeReport(asJSON, cmd.OutOrStdout(), report, report.print)
		},
	}
	addJSONFlag(c.Flags(), &asJSON)
	return c
}

// runtimeReport is what "mosel runtime show --json" and "mosel runtime install --json" print; docs/runtime.md
// describes it.
type runtimeReport struct {
	Runtime string          `json:"runtime"` // "onnxruntime"
	Version string          `json:"version"`
	Path    string          `json:"path"`
	Found   library.Found   `json:"found"`             // "environment", "system" or "cache"
	Channel library.Channel `json:"channel,omitempty"` // where a library in the cache came from: "release", "pypi" or "npm"
	SHA256  string          `json:"sha256"`            // of the library
	// Providers are the execution providers that the library has.
	Providers []modelpkg.Provider `json:"providers"`
}

// openRuntime loads the library, because only loading shows that it works.
func openRuntime(cmd *cobra.Command, config ort.Config) (runtimeReport, error) {
	rt, err := ort.Open(cmd.Context(), config)
	if err != nil {
		return runtimeReport{}, err
	}
	at := rt.Library()
	report := runtimeReport{Runtime: rt.Name(), Version: rt.Version(), Path: at.Path, Found: at.Found, Channel: at.Channel}
	report.Providers, err = rt.Providers()
	if err := errors.Join(err, rt.Close()); err != nil {
		return report, err
	}
	report.SHA256, err = library.Digest(at.Path)
	return report, err
}

func (r runtimeReport) print(w io.Writer) error {
	found := map[library.Found]string{
		library.Environment: "through " + library.EnvironmentVariable,
		library.System:      "in a system directory",
		library.Cache:       "in the user's cache, installed from " + string(r.Channel),
	}[r.Found]
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "runtime\t%s %s\npath\t%s\nfound\t%s\nproviders\t%s\nsha256\t%s\n", r.Runtime, r.Version, r.Path, found, modelpkg.ProviderNames(r.Providers), r.SHA256)
	return table.Flush()
}
