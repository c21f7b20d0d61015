package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mosel-serve/mosel/internal/example"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
)

// bashWords is for machines without the package bash-completion.
//
//go:embed completion.bash
var bashWords string

// shells are those that completion scripts can be made for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a script that completes commands, flags and values in a shell",
		Long: `Print a script that completes mosel's commands, flags and values when you press Tab.
The script asks mosel itself, so it never needs an update.`,
		Example: `  source <(mosel completion bash)                                          # for this shell
  mosel completion bash > ~/.local/share/bash-completion/completions/mosel # for all later ones
  mosel completion zsh > "${fpath[1]}/_mosel"
  mosel completion fish > ~/.config/fish/completions/mosel.fish`,
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				hint := ""
				if len(args) == 1 {
					hint = didYouMean(args[0], shells)
				}
				return usageError{fmt.Errorf("name one shell of %s%s\nSee '%s --help'", strings.Join(shells, ", "), hint, cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return completionScript(cmd, args[0]) },
	}
}

func completionScript(cmd *cobra.Command, shell string) error {
	out, root := cmd.OutOrStdout(), cmd.Root()
	switch shell {
	case "zsh":
		return root.GenZshCompletion(out)
	case "fish":
		return root.GenFishCompletion(out, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(out)
	}
	_, err := io.WriteString(out, bashWords)
	return errors.Join(err, root.GenBashCompletionV2(out, true))
}

// values are the values of flags with few of them, by the flag's name.
var values = map[string][]string{
	"policy":        plan.Policies(),
	"policies":      plan.Policies(),
	"against":       {"all", "mixes"},
	"late":          {"drop", "run"},
	"log-format":    {"text", "json"},
	"feedback-role": {"infer", "admin"},
	"role":          {"infer", "admin"},
	"process":       {"poisson", "constant", "paper"},
	"on-drift":      {"report", "replan", "refuse"},
	"metric":        nil,
	"device":        nil,
}

// extensions are those of the files that a flag names, by the flag's name.
var extensions = map[string][]string{
	"image": {"png", "jpg", "jpeg", "webp"}, "audio": {"wav", "flac"}, "trace": {"csv"}, "json": {"json"}, "markdown": {"md"},
	"tls-cert": {"pem", "crt"}, "tls-key": {"pem", "key"}, "tls-client-ca": {"pem", "crt"}, "tokens": {"yaml", "yml"},
}

// directories are the flags that name a directory.
var directories = []string{"models", "model-dir", "jobs"}

// completeValues makes the flags and arguments of a command and its commands complete
// their values.
func completeValues(c *cobra.Command) {
	each := func(f *pflag.Flag) {
		list, fixed := values[f.Name]
		of, named := extensions[f.Name]
		complete := cobra.NoFileCompletions
		switch {
		case fixed:
			complete = cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
		case named:
			complete = cobra.FixedCompletions(of, cobra.ShellCompDirectiveFilterFileExt)
		case slices.Contains(directories, f.Name):
			complete = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		case f.Name == "providers":
			complete = completeProviders
		case f.Value.Type() == "string" || f.Value.Type() == "stringArray":
			return // the shell completes files
		}
		_ = c.RegisterFlagCompletionFunc(f.Name, complete) // it fails only for a flag that is not there, or the second time
	}
	c.Flags().VisitAll(each)
	c.PersistentFlags().VisitAll(each)
	if c.ValidArgsFunction == nil && c.ValidArgs == nil && strings.Contains(c.Use, "MODEL") {
		c.ValidArgsFunction = completeModels
	}
	for _, sub := range c.Commands() {
		completeValues(sub)
	}
}

// completeProviders completes the last of a list of execution providers.
func completeProviders(_ *cobra.Command, _ []string, typed string) (list []string, _ cobra.ShellCompDirective) {
	given := typed[:strings.LastIndex(typed, ",")+1]
	for _, p := range modelpkg.Providers() {
		if name := modelpkg.ProviderNames([]modelpkg.Provider{p}); !slices.Contains(strings.Split(given, ","), name) {
			list = append(list, given+name)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeModels completes the first argument with the packages in ./models and the
// built-in example. Commands that read packages also take a directory.
func completeModels(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && cmd.Name() != "serve" && cmd.Name() != "doctor" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := slices.DeleteFunc(modelNames(), func(name string) bool { return slices.Contains(args, name) })
	if cmd.Flags().Lookup("addr") != nil {
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveDefault
}

// modelNames lists the packages in ./models, and the built-in example.
func modelNames() []string {
	found, _ := filepath.Glob(filepath.Join(modelsDir, "*", modelpkg.FileName)) // no package is a complete answer too
	names := []string{example.Name}
	for _, file := range found {
		if name := filepath.Base(filepath.Dir(file)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
