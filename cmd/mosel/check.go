package main

import (
	"fmt"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check MODEL",
		Short: "Validate a model package: mosel.yaml, graphs, evaluation sets, profiles",
		Long: `Validate a model package against its ONNX files and print every problem with
file and line. MODEL is a directory, or the name of one in ./models. The format
is described in docs/model-package.md.`,
		Example: "  mosel check models/digits",
		Args:    oneModel,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := modelDir(args[0])
			problems := modelpkg.Check(dir)
			for _, p := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			switch len(problems) {
			case 0:
			case 1:
				return fmt.Errorf("%s has 1 problem", dir)
			default:
				return fmt.Errorf("%s has %d problems", dir, len(problems))
			}
			m, err := modelpkg.Load(dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is sound: %s %s, modalities %s, %d variants\n",
				dir, m.Name, m.Version, strings.Join(m.ModalityNames(), ", "), len(m.Variants))
			return nil
		},
	}
}

// oneModel is the rule for commands that work on one package.
func oneModel(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one model package, a directory or a name in ./models\nSee '%s --help'", cmd.CommandPath())}
	}
	return nil
}
