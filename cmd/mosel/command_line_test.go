package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// printsNothingForPrograms are the commands without --json: serve has a log and a line
// "ready", completion and help print scripts and help.
var printsNothingForPrograms = []string{"mosel serve", "mosel completion", "mosel help", "mosel worker"}

// everyCommand visits the commands that do something.
func everyCommand(c *cobra.Command, visit func(*cobra.Command)) {
	if len(c.Commands()) == 0 {
		visit(c)
	}
	for _, sub := range c.Commands() {
		everyCommand(sub, visit)
	}
}

func TestEveryCommandHasJSON(t *testing.T) {
	everyCommand(rootCommand(), func(c *cobra.Command) {
		flag := c.Flag("json")
		if without := slices.Contains(printsNothingForPrograms, c.CommandPath()); without != (flag == nil) {
			t.Errorf("%s has --json: %v", c.CommandPath(), flag != nil)
		}
		if flag != nil && flag.NoOptDefVal == "" {
			t.Errorf("%s: --json is not the flag of addJSONFlag", c.CommandPath())
		}
	})
}

// TestFlagsAreConsistent checks that a flag has one type, whatever command it belongs to,
// and a usage that says something.
func TestFlagsAreConsistent(t *testing.T) {
	// A floor or deadline may be a distribution in replay; the others are those of different things.
	differ := []string{"min-accuracy", "deadline", "accuracy-confidence", "input", "feedback", "policy", "watch", "profile"}
	types := map[string]string{}
	everyCommand(rootCommand(), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing", c.CommandPath(), f.Name)
			}
			was, known := types[f.Name]
			if known && was != f.Value.Type() && !slices.Contains(differ, f.Name) {
				t.Errorf("%s --%s is a %s, elsewhere a %s", c.CommandPath(), f.Name, f.Value.Type(), was)
			}
			types[f.Name] = f.Value.Type()
		})
	})
}

func TestJSONFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "version.json")
	for _, c := range []struct {
		args          []string
		printed, kept bool
	}{
		{[]string{"--json"}, true, false},
		{[]string{"--json=-"}, true, false},
		{[]string{"--json", "-"}, true, false}, // as earlier versions took it
		{[]string{"--json=" + file}, false, true},
		{[]string{"--json", file}, false, true},
		{[]string{"--json=false"}, false, false},
		{nil, false, false},
	} {
		_ = os.Remove(file)
		out, err := command(t, append([]string{"version"}, c.args...)...)
		if err != nil || json.Valid([]byte(out)) != c.printed || exists(file) != c.kept {
			t.Errorf("%q: %v, file written: %v\n%s", c.args, err, exists(file), out)
		}
	}
	if _, err := command(t, "version", "--json", "--", "x.json"); !errors.As(err, new(usageError)) {
		t.Errorf("an argument after -- became a file: %v", err)
	}
}

func TestCheckPrintsJSON(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mosel.yaml"), []byte("format: 1\nname: x y\nlimit: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t, "check", dir, "--json")
	var r checkReport
	if json.Unmarshal([]byte(out), &r) != nil || err == nil || r.Valid || len(r.Problems) != 5 || r.Problems[1].Line == 0 || r.Problems[1].Message == "" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSuggestions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serv"}, `unknown command "serv" for "mosel": did you mean serve?`},
		{[]string{"job", "lst"}, `unknown command "lst" for "mosel job": did you mean list?`},
		{[]string{"runtime", "instal"}, "did you mean install?"},
		{[]string{"help", "exmaple"}, "did you mean example?"},
		{[]string{"help", "job", "resluts"}, "did you mean results?"},
		{[]string{"serve", "--polcy", "all"}, "unknown flag: --polcy: did you mean --policy?"},
		{[]string{"infer", "m", "--min-acuracy", "0.9"}, "did you mean --min-accuracy?"},
		{[]string{"job", "list", "m", "--adr", "x"}, "did you mean --addr?"},
		{[]string{"completion", "powershel"}, "did you mean powershell?"},
		{[]string{"job", "frobnicate"}, `unknown command "frobnicate" for "mosel job"` + "\nSee 'mosel job --help'"},
		{[]string{"serve", "--frobnicate"}, "unknown flag: --frobnicate\nSee"},
		{[]string{"serve", "-q"}, "unknown shorthand flag: 'q' in -q\nSee"},
	} {
		_, err := command(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != 2 || strings.Count(err.Error(), "See '") != 1 {
			t.Errorf("%q: exit status %d, %v", c.args, exitCode(err), err)
		}
	}
	if got := similar("x", []string{"job", "ab", "x1"}); len(got) != 0 {
		t.Errorf("one letter means %q", got)
	}
	if out, err := command(t, "help", "job", "submit"); err != nil || !strings.Contains(out, "mosel job submit MODEL") {
		t.Errorf("help: %v\n%s", err, out)
	}
}

// TestExitStatus checks the table of docs/cli.md against the program itself.
func TestExitStatus(t *testing.T) {
	mosel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
	}{
		{[]string{"version"}, 0},
		{[]string{"serve", "--help"}, 0},
		{[]string{"check", "nothing-here"}, 1},
		{[]string{"status", "--addr", "http://127.0.0.1:1"}, 1},
		{[]string{"serv"}, 2},
		{[]string{"serve", "--polcy", "all"}, 2},
		{[]string{"plan", "digits", "--min-accuracy", "2"}, 2},
	} {
		cmd := exec.CommandContext(t.Context(), mosel, c.args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.status {
			t.Errorf("%q: exit status %d, want %d\n%s", c.args, got, c.status, out)
		}
	}
}
