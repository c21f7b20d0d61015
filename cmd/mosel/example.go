package main

import (
	"fmt"
	"io"

	"github.com/mosel-serve/mosel/internal/example"
	"github.com/spf13/cobra"
)

func exampleCommand() *cobra.Command {
	var asJSON string
	cmd := &cobra.Command{
		Use:   "example",
		Short: "Print the directory of the built-in example package",
		Long: `Print the directory of the built-in model package, ` + example.Name + `. The first use writes
the package to the user's cache. Its directory samples has images and recordings
for 'mosel infer'. Copy the package as a start for your own model.`,
		Example: `  cd "$(mosel example)/samples"
  cp -r "$(mosel example)" models/my-model`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := example.Dir()
			if err != nil {
				return err
			}
			report := exampleReport{Name: example.Name, Directory: dir}
			return writeReport(asJSON, cmd.OutOrStdout(), report, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, dir)
				return err
			})
		},
	}
	addJSONFlag(cmd.Flags(), &asJSON)
	return cmd
}

// exampleReport is what "mosel example --json" prints.
type exampleReport struct {
	Name      string `json:"name"`
	Directory string `json:"directory"`
}
