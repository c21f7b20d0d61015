package main

import (
	"fmt"
	"io"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	var name, role, asJSON string
	c := &cobra.Command{
		Use:   "token --name NAME --role infer|admin",
		Short: "Make a token for a client, and its entry for the server's tokens file",
		Long: `Make a random token for a client, and its entry for the server's tokens file. The
token is printed once and stored nowhere; the entry has only its SHA-256. A running
server reads its tokens file again when it changes. docs/security.md says what each
role may do.`,
		Example: "  mosel token --name grader --role infer\n  mosel token --name ops --role admin --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || role == "" {
				return usageError{fmt.Errorf("--name and --role are needed: --name NAME --role infer|admin\nSee '%s --help'", cmd.CommandPath())}
			}
			r, err := access.ParseRole(role)
			if err != nil {
				return usageError{err}
			}
			token, entry, err := access.NewToken(name, r)
			if err != nil {
				return usageError{err}
			}
			return writeReport(asJSON, cmd.OutOrStdout(), tokenReport{token, entry}, func(out io.Writer) error {
				_, err := fmt.Fprintf(out, tokenText, token, entry)
				return err
			})
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the token's owner, as logs show it")
	c.Flags().StringVar(&role, "role", "", "role: infer (send requests) or admin (everything)")
	addJSONFlag(c.Flags(), &asJSON)
	return c
}

// tokenReport is what "mosel token --json" prints.
type tokenReport struct {
	Token string `json:"token"`
	access.Entry
}

// tokenText is what "mosel token" prints: the token and the entry.
const tokenText = `%s

This is the token. It is shown only now. The client sends it with every request:

  Authorization: Bearer TOKEN

Add this entry to the file that you give to "mosel serve --tokens FILE":

tokens:
  - %v
`
