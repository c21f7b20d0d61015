package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/runtime/ort/library"
)

func runtimeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "runtime",
		Short: "Show or install the ONNX Runtime library that runs the graphs",
		Long: `mosel runs graphs with ONNX Runtime, a shared library. It takes the file that
` + library.EnvironmentVariable + ` names, else one in the usual system directories, else the one in
the user's cache, where release ` + library.Version + ` is installed when it is first needed: from
the official release, or, where that is out of reach, through pip or npm.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(runtimeInstallCommand(), runtimeShowCommand())
	return c
}

// noArguments is the rule for commands that take none; for a command with
// subcommands it names the one that was mistyped.
func noArguments(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
	}
	return nil
}

func runtimeInstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Make sure there is a library that works, and print its path",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := openRuntime(cmd, ort.Config{Progress: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), report.Path)
			return err
		},
	}
}

func runtimeShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print which library is used, its version and where it comes from",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := openRuntime(cmd, ort.Config{NoInstall: true})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON("-", cmd.OutOrStdout(), report)
			}
			return report.print(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// runtimeReport is what "mosel runtime show --json" prints; docs/runtime.md
// describes it.
type runtimeReport struct {
	Runtime string          `json:"runtime"` // "onnxruntime"
	Version string          `json:"version"`
	Path    string          `json:"path"`
	Found   library.Found   `json:"found"`             // "environment", "system" or "cache"
	Channel library.Channel `json:"channel,omitempty"` // of a library in the cache: "release", "pypi" or "npm"
	SHA256  string          `json:"sha256"`            // of the library
}

// openRuntime loads the library, which is the only way to know that it works.
func openRuntime(cmd *cobra.Command, config ort.Config) (runtimeReport, error) {
	rt, err := ort.Open(cmd.Context(), config)
	if err != nil {
		return runtimeReport{}, err
	}
	at := rt.Library()
	report := runtimeReport{Runtime: rt.Name(), Version: rt.Version(), Path: at.Path, Found: at.Found, Channel: at.Channel}
	if err := rt.Close(); err != nil {
		return report, err
	}
	report.SHA256, err = library.Digest(at.Path)
	return report, err
}

func (r runtimeReport) print(w io.Writer) error {
	found := map[library.Found]string{
		library.Environment: "by " + library.EnvironmentVariable,
		library.System:      "in a system directory",
		library.Cache:       "in the user's cache, installed from " + string(r.Channel),
	}[r.Found]
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "runtime\t%s %s\npath\t%s\nfound\t%s\nsha256\t%s\n", r.Runtime, r.Version, r.Path, found, r.SHA256)
	return table.Flush()
}
