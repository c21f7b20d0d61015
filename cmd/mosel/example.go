package main

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/example"
	"github.com/spf13/cobra"
)

func exampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print where the built-in example package is, with files to try it with",
		Long: `Print the directory of the built-in model package, ` + example.Name + `. It is written to the
user's cache when it is needed first. Its samples directory has pictures and
recordings for 'mosel infer'; the package is also one to copy for your own model.`,
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
