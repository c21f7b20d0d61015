package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/isolated"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
	"github.com/mosel-serve/mosel/internal/server"
)

// workerCommand is what the server starts for a model with isolation: process.
func workerCommand() *cobra.Command {
	var providers []modelpkg.Provider
	cmd := &cobra.Command{
		Use:    "worker MODEL",
		Short:  "Run the graphs of a model in a process of their own; the server starts it",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error {
			return isolated.Serve(func(ctx context.Context) (runtime.Runtime, error) {
				return server.OpenRuntime(ctx, ort.Config{NoInstall: true}, providers, nil)
			})
		},
	}
	addProvidersFlag(cmd, &providers)
	return cmd
}

// workerLog is where commands other than serve tell what such a process says.
func workerLog(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
}
