package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// standardOutput is the name of standard output among the names of files.
const standardOutput = "-"

// jsonFlag is the value of --json: "" for none, standardOutput, or the name of a file.
// Without a value the flag means standardOutput.
type jsonFlag string

// addJSONFlag adds --json, which every command has whose output a program may read.
func addJSONFlag(flags *pflag.FlagSet, to *string) {
	flags.VarPF((*jsonFlag)(to), "json", "", "print JSON in place of text; --json=FILE writes it to a file").NoOptDefVal = "true"
}

// String implements pflag.Value.
func (j *jsonFlag) String() string { return string(*j) }

// Set implements pflag.Value.
func (j *jsonFlag) Set(text string) error {
	switch text {
	case "true":
		text = standardOutput
	case "false":
		text = ""
	}
	*j = jsonFlag(text)
	return nil
}

// Type implements pflag.Value. The help shows a flag of this type without a value.
func (*jsonFlag) Type() string { return "bool" }

// joinJSON makes one argument of "--json -" and of "--json NAME.json". A flag whose
// value may be left out takes it only after "=", but earlier versions took these forms.
func joinJSON(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(joined, args[i:]...)
		}
		if arg == "--json" && i+1 < len(args) && (args[i+1] == standardOutput || strings.HasSuffix(args[i+1], ".json")) {
			i++
			arg += "=" + args[i]
		}
		joined = append(joined, arg)
	}
	return joined
}

// writeReport writes a report as --json asks for, and as text unless the JSON went to
// standard output.
func writeReport(json string, out io.Writer, report any, text func(out io.Writer) error) error {
	if json != "" {
		if err := writeJSON(json, out, report); err != nil || json == standardOutput {
			return err
		}
	}
	return text(out)
}

// writeJSON writes a report to a file, or to out for standardOutput.
func writeJSON(file string, out io.Writer, report any) error {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if file == standardOutput {
		_, err = out.Write(data)
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
