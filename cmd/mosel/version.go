package main

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// version is what is known about the program's source: the JSON of `mosel version`.
type version struct {
	Version  string `json:"version"`            // such as v1.2.3, or "devel" if none was recorded
	Commit   string `json:"commit,omitempty"`   // of the repository, in hex; "": unknown
	Date     string `json:"date,omitempty"`     // of the commit, RFC 3339; "": unknown
	Modified bool   `json:"modified,omitempty"` // the source differed from the commit
	Go       string `json:"go"`                 // the version of Go that built it
	Platform string `json:"platform"`           // such as linux/amd64
}

// releaseVersion is set by the linker in the programs of a release. The Go toolchain
// records a version only in modules that are installed from a registry, or at a tag.
var releaseVersion string

// devel is the version of a program that was built without a version.
const devel = "devel"

// pseudoVersion matches the end of a version that Go makes from a commit: its time
// in UTC and the first twelve digits of its hash.
var pseudoVersion = regexp.MustCompile(`[-.](\d{14})-([0-9a-f]{12})(\+.*)?$`)

// thisVersion returns the version of this program that the Go toolchain recorded.
func thisVersion() version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	v := versionOf(info)
	if releaseVersion != "" {
		v.Version = releaseVersion
	}
	return v
}

// versionOf makes a version from build information: of a release or a commit that
// was installed as a module, or of a build in a clone.
func versionOf(info *debug.BuildInfo) version {
	v := version{Version: devel, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	if m := pseudoVersion.FindStringSubmatch(v.Version); m != nil {
		v.Commit = m[2]
		if at, err := time.Parse("20060102150405", m[1]); err == nil {
			v.Date = at.Format(time.RFC3339)
		}
	}
	v.Modified = strings.HasSuffix(v.Version, "+dirty")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String returns the version as one line of text.
func (v version) String() string {
	var about []string
	if v.Commit != "" {
		commit := "commit " + v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			commit += " with changes"
		}
		about = append(about, commit)
	}
	if date, _, _ := strings.Cut(v.Date, "T"); date != "" {
		about = append(about, date)
	}
	about = append(about, v.Go, v.Platform)
	return fmt.Sprintf("mosel %s (%s)", v.Version, strings.Join(about, ", "))
}

func versionCommand() *cobra.Command {
	asJSON := ""
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeReport(asJSON, cmd.OutOrStdout(), thisVersion(), func(out io.Writer) error {
				_, err := fmt.Fprintln(out, thisVersion())
				return err
			})
		},
	}
	addJSONFlag(cmd.Flags(), &asJSON)
	return cmd
}
