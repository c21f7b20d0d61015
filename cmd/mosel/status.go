package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/board"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// What the pages are made for, where there is no terminal that says.
const (
	paperWidth = 100
	// watchEvery is as often as a person can follow.
	watchEvery = time.Second
	// askTimeout is after which a server that does not answer is called silent.
	askTimeout = 10 * time.Second
)

// tokenVariable has a token that then need not be on the command line, where all
// users of a machine see it.
const tokenVariable = "MOSEL_TOKEN"

// serverFlags say which server is asked, and how its answer is shown.
type serverFlags struct {
	addr, token string
	json        bool
}

func (f *serverFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", defaultAddr, "the server, over REST")
	flags.StringVar(&f.token, "token", "", "administrator's token (default: $"+tokenVariable+")")
	flags.BoolVar(&f.json, "json", false, "print the server's answer as JSON")
}

func (f *serverFlags) client() (*client.Client, error) {
	token := f.token
	if token == "" {
		token = os.Getenv(tokenVariable)
	}
	c, err := client.New(f.addr, client.Options{Token: token})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func statusCommand() *cobra.Command {
	var f serverFlags
	watch := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a server does now, and did lately",
		Long: `Show one page about a server: its queue, its instances, how requests of each
model ended lately and how long they took, which variants ran, and the latest
decisions with their reasons. docs/status.md explains every number.`,
		Example: "  mosel status\n  mosel status --watch\n  mosel status --addr http://127.0.0.1:9000 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			defer c.Close()
			w := cmd.OutOrStdout()
			page := func(ctx context.Context, height int) (string, error) {
				ctx, cancel := context.WithTimeout(ctx, askTimeout)
				defer cancel()
				s, err := c.Status(ctx)
				if err != nil {
					return "", explain(ctx, c, f.addr, err)
				}
				if f.json {
					return jsonText(s, watch)
				}
				p := paper(w)
				p.Height = height
				return p.Status(s), nil
			}
			if watch {
				return watchPage(cmd.Context(), w, page)
			}
			text, err := page(cmd.Context(), 0)
			fmt.Fprint(w, text)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every second, until Ctrl-C")
	return cmd
}

// jsonText prints a value as JSON, on one line or for people.
func jsonText(v any, line bool) (string, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if line {
		data, err = json.Marshal(v)
	}
	return string(data) + "\n", err
}

// paper is what w is: a terminal, with its width, or anything else.
func paper(w io.Writer) board.Paper {
	p := board.Paper{Width: paperWidth}
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		p.Width = columns
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			p.Width = width
		}
	}
	return p
}

// height is that of the terminal, 0 where w is none.
func height(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if _, lines, err := term.GetSize(int(f.Fd())); err == nil && lines > 1 {
		return lines - 1 // the last is where the cursor rests
	}
	return 0
}

// watchPage shows a page every second: on a terminal in the place of the one
// before, elsewhere below it. A server that cannot be asked for the first time ends
// it; one that goes away later is waited for. It ends without error with ctx.
func watchPage(ctx context.Context, w io.Writer, page func(context.Context, int) (string, error)) error {
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	for first := true; ; first = false {
		lines := height(w)
		text, err := page(ctx, lines)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			text = fmt.Sprintln(err)
		}
		if lines > 0 {
			if first {
				fmt.Fprint(w, "\x1b[2J") // clears the screen
			}
			// Each line clears what was behind it, so that nothing flickers.
			text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
		}
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}
