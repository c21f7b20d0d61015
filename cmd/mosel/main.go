// Command mosel serves multi-modal models and chooses, for every request, which
// of its input modalities are worth running. Each subcommand is one file, which
// reads flags and calls a package.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mosel:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 for a mistake on the command line, 1 for everything else.
func exitCode(err error) int {
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "mosel",
		Short: "Serve multi-modal models, running only the modalities that each request needs",
		Long: `mosel serves multi-modal models. A client states the accuracy it needs and by
when; mosel runs the cheapest choice of input modalities that keeps both.

  mosel serve                       serve the models in ./models on localhost
  mosel infer digits --text seven   ask it something
  mosel demo                        see what it gains over running everything`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
	})
	root.AddCommand(checkCommand(), profileCommand(), planCommand(), serveCommand(), inferCommand(), replayCommand(), simulateCommand(), demoCommand(), statusCommand(), explainCommand(), tokenCommand(), runtimeCommand())
	return root
}
