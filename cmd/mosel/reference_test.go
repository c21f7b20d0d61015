package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestReference compares docs/reference.md with the commands and their flags. -rewrite
// writes it:
//
//	go test ./cmd/mosel -run TestReference -rewrite
func TestReference(t *testing.T) {
	const file = "../../docs/reference.md"
	want := reference(rootCommand())
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%v: %s is not what the commands say: go test ./cmd/mosel -run TestReference -rewrite", err, file)
	}
}

// reference is the page with every command and flag.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands and flags\n\nEvery command with its flags, as `mosel COMMAND --help` prints them. This page is generated: `go test ./cmd/mosel -run TestReference -rewrite`.\n" +
		"[cli.md](cli.md) describes what all commands have in common.\n")
	everyCommand(root, func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n```\n%s\n```\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."), c.UseLine())
		if c.Long != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", c.Long)
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
		rows := ""
		row := func(f *pflag.Flag) { rows += flagRow(f) }
		c.NonInheritedFlags().VisitAll(row)
		c.InheritedFlags().VisitAll(row)
		if rows != "" {
			b.WriteString("\n| flag | default | |\n|---|---|---|\n" + rows)
		}
	})
	return b.String()
}

// flagRow is a row of the table of flags.
func flagRow(f *pflag.Flag) string {
	kind, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if f.Name == "json" {
		name += "[=FILE]"
	} else if kind != "" {
		name += " " + kind
	}
	value := f.DefValue
	switch {
	case value == "false" || value == "[]" || value == "0" || value == "0s":
		value = ""
	case f.Name == "instances":
		return fmt.Sprintf("| `%s` | by the number of cores | %s |\n", name, plainUsage(usage))
	}
	if value != "" {
		value = "`" + value + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", name, cmp.Or(value, " "), plainUsage(usage))
}

// placeholder is a word in angle brackets or a bar, which Markdown reads as something else.
var placeholder = regexp.MustCompile(`[<>|*]`)

func plainUsage(usage string) string {
	return placeholder.ReplaceAllStringFunc(usage, func(s string) string { return `\` + s })
}
