// Package doctor checks whether a server would work on this machine, before it is
// started: the library, the packages and their profiles, ports, limits and disks. It
// changes nothing, except that it writes and removes an empty directory where a cache
// would be.
package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime"
)

// State says how bad a finding is.
type State string

// The states, from good to bad.
const (
	OK   State = "ok"
	Warn State = "warn" // the server works, but not as well as it could
	Fail State = "fail" // must be fixed before the server works as asked
)

// Finding is what one check found.
type Finding struct {
	Check   string `json:"check"`   // such as "ports"
	Subject string `json:"subject"` // what was checked, such as an address or a model
	State   State  `json:"state"`
	Found   string `json:"found"`
	Fix     string `json:"fix,omitempty"` // what to do, one line; "" if nothing needs to be done
}

// Report is everything that was found.
type Report struct {
	OK     bool      `json:"ok"` // nothing must be fixed
	Checks []Finding `json:"checks"`
}

// Count returns how many findings have a state.
func (r Report) Count(state State) int {
	n := 0
	for _, f := range r.Checks {
		if f.State == state {
			n++
		}
	}
	return n
}

// Config says what is checked. The fields are those of a server's configuration.
type Config struct {
	ModelsDir   string
	Only        []string // names of packages; nil: all
	Device      string
	Providers   []modelpkg.Provider
	Addresses   []Address // that of REST first
	Connections int
	JobsDir     string // "": none

	Cores int
	// Open opens the library and says what it is. An error of kind not found or unsupported
	// means that there is none.
	Open func(ctx context.Context) (rt runtime.Runtime, about string, err error)
	// Time has variants run to compare their times with the profile.
	Time bool
	// FilesMax is the limit on open files; 0: not known.
	FilesMax uint64
	// Free returns the free space for a path; nil, or an error: not known.
	Free func(path string) (bytes uint64, err error)
	// Caches are the directories for the cache, best first.
	Caches []cachedir.Dir
	// Temporary is the directory for temporary files.
	Temporary string
}

// Address is one that a server listens on.
type Address struct{ Flag, Address string }

// checkup collects findings.
type checkup struct {
	Config
	report Report
	mosel  bool // a mosel server listens on one of the addresses
}

// add records a finding. fix is "" if nothing needs to be done.
func (c *checkup) add(check, subject string, state State, found, fix string) {
	c.report.Checks = append(c.report.Checks, Finding{Check: check, Subject: subject, State: state, Found: found, Fix: fix})
}

// Run makes all checks. Only the end of ctx is an error.
func Run(ctx context.Context, config Config) (Report, error) {
	c := &checkup{Config: config, report: Report{Checks: []Finding{}}}
	_, processor := modelpkg.Device(c.Providers)
	c.add("machine", "processor", OK, fmt.Sprintf("%s; cores for this process: %d", processor, c.Cores), "")
	rt := c.library(ctx)
	packages := c.packages()
	for _, m := range packages {
		c.profile(ctx, rt, m)
	}
	if rt != nil {
		_ = rt.Close() // nothing follows
	}
	for _, a := range c.Addresses {
		c.port(ctx, a)
	}
	c.files(len(packages))
	c.disk(packages)
	c.cache()
	c.report.OK = c.report.Count(Fail) == 0
	return c.report, ctx.Err()
}

// packages checks the packages and returns those that are valid.
func (c *checkup) packages() (valid []*modelpkg.Model) {
	dirs, err := c.directories()
	if err != nil {
		c.add("models", c.ModelsDir, Fail, err.Error(), "give the directory of your packages: --models DIRECTORY")
		return nil
	}
	if len(dirs) == 0 {
		c.add("models", c.ModelsDir, Fail, "there is no model package", "make a package with 'mosel init', or give another directory: --models DIRECTORY")
	}
	for _, dir := range dirs {
		links := c.ModelsDir
		if dir == c.ModelsDir {
			links = ""
		}
		found := modelpkg.CheckIn(links, dir)
		switch n := len(found.Problems); {
		case n == 1:
			c.add("models", dir, Fail, fmt.Sprint(found.Problems[0]), "correct it, then run 'mosel check "+dir+"'")
		case n > 1:
			c.add("models", dir, Fail, fmt.Sprintf("%d problems, the first: %s", n, found.Problems[0]), "'mosel check "+dir+"' lists all")
		default:
			valid = append(valid, found.Model)
			c.add("models", dir, OK, fmt.Sprintf("%s %s, %d variants", found.Model.Name, found.Model.Version, len(found.Model.Variants)), "")
		}
		for _, w := range found.Warnings {
			c.add("models", dir, Warn, w, "docs/model-package.md describes the format")
		}
	}
	return valid
}

// directories lists the directories of the packages.
func (c *checkup) directories() ([]string, error) {
	info, err := os.Stat(c.ModelsDir)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a directory", c.ModelsDir)
	case len(c.Only) > 0:
		dirs := make([]string, len(c.Only))
		for i, name := range c.Only {
			dirs[i] = filepath.Join(c.ModelsDir, name)
		}
		return dirs, nil
	}
	if _, err := os.Stat(filepath.Join(c.ModelsDir, modelpkg.FileName)); err == nil {
		return []string{c.ModelsDir}, nil
	}
	files, err := filepath.Glob(filepath.Join(c.ModelsDir, "[^.]*", modelpkg.FileName))
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	return files, err
}

// library opens the library; nil if that is not possible.
func (c *checkup) library(ctx context.Context) runtime.Runtime {
	rt, about, err := c.Open(ctx)
	switch {
	case err == nil:
		c.add("library", "onnxruntime", OK, about, "")
	case missing(err):
		c.add("library", "onnxruntime", Warn, "it is not installed", "run 'mosel runtime install', or 'mosel serve', which installs it; both need a package registry")
	default:
		c.add("library", "onnxruntime", Fail, firstLine(err), "see docs/runtime.md; if MOSEL_ONNXRUNTIME is set, correct or unset it")
	}
	return rt
}

// firstLine is the first line of an error; the others list what was tried.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
