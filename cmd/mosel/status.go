package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// watchEvery is the time between updates of the page.
const watchEvery = time.Second

// statusFlags are the flags of `mosel status`.
type statusFlags struct {
	addr  string
	json  string
	watch bool
}

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a server's models, queue, instances and latest decisions",
		Long: `Show the state of a server: the share of requests that were on time, the variants
that ran, completion times, the queue, and the reasons for the latest batches.

If the server has tokens, put a token with role admin into the environment variable
` + tokenVariable + `.`,
		Example: "  mosel status\n  mosel status --watch\n  mosel status --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.watch && f.json != "" {
				return usageError{errors.New("--watch and --json cannot be used together")}
			}
			return showStatus(cmd, f)
		},
	}
	cmd.Flags().StringVar(&f.addr, "addr", defaultAddr, "URL of the server")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "update every second, until interrupted")
	addJSONFlag(cmd.Flags(), &f.json)
	return cmd
}

// tokenVariable is the environment variable with the token. A flag would show the
// token to everybody who lists the processes.
const tokenVariable = "MOSEL_TOKEN"

// newClient makes a client of a server, with the token from the environment.
func newClient(addr string) (*client.Client, error) {
	c, err := client.New(addr, client.Options{Token: os.Getenv(tokenVariable), GRPC: clientgrpc.Dial})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// askTimeout is how long a server may take to answer.
const askTimeout = 10 * time.Second

func showStatus(cmd *cobra.Command, f statusFlags) error {
	c, err := newClient(f.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	out := cmd.OutOrStdout()
	if f.watch {
		return watch(cmd.Context(), out, func(ctx context.Context) (string, error) { return statusText(ctx, c, f.addr, out) })
	}
	if f.json == "" {
		text, err := statusText(cmd.Context(), c, f.addr, out)
		fmt.Fprint(out, text)
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), askTimeout)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return reportError(f.addr, err)
	}
	return writeJSON(f.json, out, s)
}

// statusText asks the server for its status and formats it as a page.
func statusText(ctx context.Context, c *client.Client, addr string, out io.Writer) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return "", reportError(addr, err)
	}
	width, screen := terminal(out)
	return statusPage(s, width, colored(screen)), nil
}

// watch prints the page repeatedly until ctx ends. It prints errors and goes on, since
// the server may only be restarting.
func watch(ctx context.Context, out io.Writer, draw func(ctx context.Context) (string, error)) error {
	_, screen := terminal(out)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		text, err := draw(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			text = err.Error() + "\n"
		}
		if screen {
			text = "\x1b[H\x1b[2J" + text
		}
		fmt.Fprint(out, text)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// terminal returns the width for a page in characters, and whether w is a
// terminal that can be written over and coloured.
func terminal(w io.Writer) (width int, screen bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return pageWidthDefault, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = pageWidthDefault
	}
	return width, true
}

// colored reports whether a page has colours: on a terminal, unless the environment
// variable NO_COLOR is set.
func colored(screen bool) bool { return screen && os.Getenv("NO_COLOR") == "" }

// reportError adds to an error what the user can do about it.
func reportError(addr string, err error) error {
	switch {
	case errors.Is(err, client.ErrUnauthenticated), errors.Is(err, client.ErrForbidden):
		return fmt.Errorf("%w\nPut a token with role admin into the environment variable %s", err, tokenVariable)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the server at %s did not answer within %v", addr, askTimeout)
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return errors.New(e.Message)
	}
	return notThere(addr, err)
}
