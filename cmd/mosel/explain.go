package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/mosel-serve/mosel/client"
	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "explain ID",
		Short: "Show what a server did with one request, and why",
		Long: `Tell the story of one request: what was asked, what happened and when, what ran,
and for every variant of the model why it ran or did not. ID is the job that
answers and errors carry (parameter job, header X-Mosel-Job), or the id that the
client gave its request; the newest, if it gave it to several. A server keeps
the latest requests, see --explain of 'mosel serve'.`,
		Example: "  mosel explain 3010\n  mosel explain my-request --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError{fmt.Errorf("name one request, by its job or by the client's id\nSee '%s --help'", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
			defer cancel()
			x, err := c.Explain(ctx, args[0])
			if e := (*client.Error)(nil); errors.As(err, &e) && errors.Is(err, client.ErrNotFound) {
				return errors.New(e.Message)
			}
			if err != nil {
				return explain(ctx, c, f.addr, err)
			}
			text := paper(cmd.OutOrStdout()).Explanation(x)
			if f.json {
				text, err = jsonText(x, false)
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	f.add(cmd)
	return cmd
}
