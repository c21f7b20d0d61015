package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestionDistance is the largest edit distance between what was typed and a name that
// is suggested.
const suggestionDistance = 2

// similar returns those of the names that are most similar to the typed one, if any is.
func similar(typed string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	typed = strings.ToLower(typed)
	for _, name := range names {
		lower := strings.ToLower(name)
		d := levenshtein.ComputeDistance(typed, lower)
		switch {
		case d <= suggestionDistance && d < len([]rune(name)) && d < len([]rune(typed)):
		case len(typed) >= suggestionDistance && strings.HasPrefix(lower, typed):
			d = suggestionDistance
		default:
			continue
		}
		found = append(found, candidate{name, d})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var list []string
	for _, f := range found {
		if f.distance == found[0].distance {
			list = append(list, f.name)
		}
	}
	return list
}

// didYouMean returns ": did you mean A or B?", or "" if no name is similar.
func didYouMean(typed string, names []string) string {
	if like := similar(typed, names); len(like) > 0 {
		return ": did you mean " + strings.Join(like, " or ") + "?"
	}
	return ""
}

// commandNames lists the commands of a command that its help lists.
func commandNames(c *cobra.Command) (names []string) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// knownCommand refuses an unknown command, and suggests similar ones. It is for commands
// that only have other commands.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("unknown command %q for %q%s\nSee '%s --help'", args[0], c.CommandPath(), didYouMean(args[0], commandNames(c)), c.CommandPath())}
}

// flagError adds to an error in the flags what the user can do about it.
func flagError(c *cobra.Command, err error) error {
	hint := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		hint = didYouMean("--"+unknown.GetSpecifiedName(), names)
	}
	return usageError{fmt.Errorf("%w%s\nSee '%s --help'", err, hint, c.CommandPath())}
}

// helpCommand is cobra's, except that an unknown command is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, _, err := c.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return commandNames(of), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of := c.Root()
			for _, name := range args {
				at := slices.IndexFunc(of.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name })
				if at < 0 {
					return knownCommand(of, []string{name})
				}
				of = of.Commands()[at]
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}
