// Command mosel serves multi-modal models and chooses, for every request, which
// of its input modalities to run. Each subcommand is one file, which reads flags
// and calls a package.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	root := rootCommand()
	root.SetArgs(joinJSON(os.Args[1:]))
	if err := root.ExecuteContext(untilSignal()); err != nil {
		sayWithin(os.Stderr, lastWords, "mosel: "+err.Error()+"\n")
		os.Exit(exitCode(err))
	}
}

// untilSignal returns a context that the first SIGINT or SIGTERM cancels. The
// second ends the process at once, with status 130 or 143.
func untilSignal() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		code := 1
		if number, ok := (<-signals).(syscall.Signal); ok {
			code = 128 + int(number)
		}
		os.Exit(code)
	}()
	return ctx
}

// lastWords is how long a program that ends waits for its last message to be written.
const lastWords = 200 * time.Millisecond

// sayWithin writes a text, and gives up after limit if nobody reads it.
func sayWithin(w io.Writer, limit time.Duration, text string) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.WriteString(w, text) // there is nowhere to report the error
	}()
	select {
	case <-said:
	case <-time.After(limit):
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
		Long: `mosel serves multi-modal models. A client states the accuracy it needs and a
deadline; mosel runs the cheapest choice of input modalities that meets both.

  mosel serve                       serve the models in ./models on localhost;
                                    without ./models, serve a built-in example
  mosel infer digits --text seven   send a request to that server
  mosel demo                        compare mosel with running all modalities`,
		Version:       thisVersion().Version,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate(thisVersion().String() + "\n")
	root.SetHelpCommand(helpCommand())
	root.AddCommand(initCommand(), checkCommand(), profileCommand(), planCommand(), serveCommand(), inferCommand(), replayCommand(), simulateCommand(), demoCommand(), statusCommand(),
		explainCommand(), feedbackCommand(), jobCommand(), tokenCommand(), runtimeCommand(), exampleCommand(), versionCommand(), doctorCommand(), completionCommand(), workerCommand())
	usageErrors(root)
	completeValues(root)
	return root
}

// usageErrors makes every argument error of a command and its subcommands a
// usageError.
func usageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil || errors.As(err, new(usageError)) {
				return err
			}
			return usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}
