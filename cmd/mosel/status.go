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

// watchEvery is how often a page is drawn anew: as fast as a person reads one.
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
		Short: "Show what a server does: models, queues, instances, latest decisions",
		Long: `Show what a server says of itself: how much of what was asked was answered on
time, what it ran for it, how long that took, who waits, and why the latest
batches are what they are. Where the server asks for tokens, give one of an
administrator in the environment as ` + tokenVariable + `.`,
		Example: "  mosel status\n  mosel status --watch\n  mosel status --json -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.watch && f.json != "" {
				return usageError{errors.New("--watch draws pages: leave out --json")}
			}
			return showStatus(cmd, f)
		},
	}
	cmd.Flags().StringVar(&f.addr, "addr", defaultAddr, "the server")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "draw the page anew every second, until interrupted")
	cmd.Flags().StringVar(&f.json, "json", "", "write JSON to this file, - for the terminal")
	return cmd
}

// tokenVariable is where a token comes from: a flag would show it to everybody
// who lists the processes.
const tokenVariable = "MOSEL_TOKEN"

// newClient makes a client of a server, with the token of the environment.
func newClient(addr string) (*client.Client, error) {
	c, err := client.New(addr, client.Options{Token: os.Getenv(tokenVariable), GRPC: clientgrpc.Dial})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// askTimeout is how long a server may take to tell of itself.
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

// statusText asks for a status and draws it.
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

// watch draws again and again until ctx ends. A server that cannot be asked for a
// moment, because it starts again, is asked the next time.
func watch(ctx context.Context, out io.Writer, draw func(ctx context.Context) (string, error)) error {
	_, screen := terminal(out)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		text, err := draw(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // the user has seen enough
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

// terminal is how wide a page may be, and whether w is a screen.
func terminal(w io.Writer) (width int, screen bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return pageWidthDefault, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = pageWidthDefault
	}
	return width, true
}

// colored reports whether a page may have colours: on a screen, unless the
// environment says NO_COLOR.
func colored(screen bool) bool { return screen && os.Getenv("NO_COLOR") == "" }

// reportError adds to an error what its reader can do about it.
func reportError(addr string, err error) error {
	switch {
	case errors.Is(err, client.ErrUnauthenticated), errors.Is(err, client.ErrForbidden):
		return fmt.Errorf("%w\nGive the token of an administrator in the environment variable %s", err, tokenVariable)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the server at %s did not answer within %v", addr, askTimeout)
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return errors.New(e.Message)
	}
	return notThere(addr, err)
}
