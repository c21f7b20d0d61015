package main

import (
	"fmt"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/spf13/cobra"
)

func tokenCommand() *cobra.Command {
	var name, role string
	var asJSON bool
	c := &cobra.Command{
		Use:   "token --name NAME --role infer|admin",
		Short: "Make a token for a client, and the entry for it in the server's tokens file",
		Long: `Make a random token for a client and the entry by which a server knows it. The
token is printed this once and kept nowhere: the entry has only its SHA-256. A
running server reads its tokens file anew when it changes; docs/security.md says
what the roles may do.`,
		Example: "  mosel token --name grader --role infer\n  mosel token --name ops --role admin --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || role == "" {
				return usageError{fmt.Errorf("say who the token is for and what it is for: --name NAME --role infer|admin\nSee '%s --help'", cmd.CommandPath())}
			}
			r, err := access.ParseRole(role)
			if err != nil {
				return usageError{err}
			}
			token, entry, err := access.NewToken(name, r)
			if err != nil {
				return usageError{err}
			}
			if asJSON {
				return writeJSON("-", cmd.OutOrStdout(), tokenReport{token, entry})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), tokenText, token, entry)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "who the token is for, as logs call it")
	c.Flags().StringVar(&role, "role", "", "what it is for: infer, or admin for everything")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tokenReport is what "mosel token --json" prints.
type tokenReport struct {
	Token string `json:"token"`
	access.Entry
}

// tokenText is what "mosel token" prints: the token and the entry.
const tokenText = `%s

This is the token, shown only now. The client sends it with every request:

  Authorization: Bearer TOKEN

The server knows it by this entry of the file given with "mosel serve --tokens FILE":

tokens:
  - %v
`
