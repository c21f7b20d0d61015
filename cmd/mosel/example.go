package main

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/example"
	"github.com/spf13/cobra"
)

func exampleCommand() *cobra.Command {
	return &cobra.Command{
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
			_, err = fmt.Fprintln(cmd.OutOrStdout(), dir)
			return err
		},
	}
}
