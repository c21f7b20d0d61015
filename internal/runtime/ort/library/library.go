// Package library finds ONNX Runtime's shared library on this machine or installs it,
// once per user. It is separate from the package that loads the library (ort) because
// it needs no cgo: it handles files, archives and registries, and can be tested
// without loading anything.
//
// The order is: the file that MOSEL_ONNXRUNTIME names; the usual system directories;
// the user's cache or, if that cannot be written, a temporary directory of the user;
// and then an installation into that cache. Downloads are pinned by version and
// SHA-256 (see pins.go). A cached library is checked against the digest that was
// recorded at its installation, every time it is used.
package library

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/slo"
)

// EnvironmentVariable names a library file that takes precedence over all others.
const EnvironmentVariable = "MOSEL_ONNXRUNTIME"

// Version is the ONNX Runtime release to install if none is found. Among those at least
// as new as Oldest it is the last whose official builds send no telemetry: 1.29 began
// to, also on Linux and macOS. 1.30 runs the graphs of models/digits no faster; 1.24
// takes 5 % longer, 1.27 to 1.29 20 %.
const Version = "1.26.0"

// Oldest is the lowest version whose C API the binding supports.
const Oldest = "1.24"

// Found says by which rule a library was found.
type Found string

// The rules, in order.
const (
	Environment Found = "environment" // named by MOSEL_ONNXRUNTIME
	System      Found = "system"      // in a system directory
	Cache       Found = "cache"       // installed by mosel, now or earlier
)

// Location is a library on this machine.
type Location struct {
	Path    string
	Found   Found
	Channel Channel // source of a cached library, else ""
}

// Config says where to look. The zero value is the default for users.
type Config struct {
	// Progress receives a line for each step of an installation; nil: no output.
	Progress io.Writer
	// NoInstall makes a missing library an error instead of installing it.
	NoInstall bool
	// CacheDir replaces the directories of package cachedir.
	CacheDir string
	// SystemDirs replaces the usual system directories. Tests use an empty, non-nil
	// slice for a machine without any.
	SystemDirs []string
}

// Find goes through the order and returns the first library that accept accepts. accept
// loads it, or is nil to accept any. If the library that the environment names is not
// accepted, that is an error, because using another one would hide a mistake. If one in
// a system directory or in the cache is not accepted, it is skipped. The final error
// lists everything that was tried.
func (c Config) Find(ctx context.Context, accept func(Location) error) (Location, error) {
	if accept == nil {
		accept = func(Location) error { return nil }
	}
	if file := os.Getenv(EnvironmentVariable); file != "" {
		return named(file, accept)
	}
	tried := attempts{EnvironmentVariable + " is not set"}
	if at, ok := c.system(accept, &tried); ok {
		return at, nil
	}
	return c.cached(ctx, accept, &tried)
}

// named returns the library of the environment variable.
func named(file string, accept func(Location) error) (Location, error) {
	op := "use the ONNX Runtime library of " + EnvironmentVariable
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return Location{}, slo.E(op, slo.KindNotFound, "%w", err)
	case info.IsDir():
		return Location{}, slo.E(op, slo.KindInvalid, "%s is a directory; name the file, such as %s",
			file, filepath.Join(file, fileName(runtime.GOOS)))
	}
	at := Location{Path: file, Found: Environment}
	if err := accept(at); err != nil {
		return Location{}, slo.E(op, slo.KindInvalid, "%s: %w", file, err)
	}
	return at, nil
}

// system searches the system directories.
func (c Config) system(accept func(Location) error, tried *attempts) (Location, bool) {
	dirs := c.SystemDirs
	if dirs == nil {
		dirs = systemDirs(runtime.GOOS, runtime.GOARCH, os.Getenv)
	}
	none := true
	for _, dir := range dirs {
		for _, file := range candidates(dir, runtime.GOOS) {
			none = false
			if v := fileVersion(file); v != "" && olderThan(v, Oldest) {
				tried.add("%s: version %s is older than %s", file, v, Oldest)
				continue
			}
			at := Location{Path: file, Found: System}
			err := accept(at)
			if err == nil {
				return at, true
			}
			tried.add("%s: %v", file, err)
		}
	}
	if none {
		tried.add("no %s in the system directories %s", fileName(runtime.GOOS), strings.Join(dirs, ", "))
	}
	return Location{}, false
}

// cached searches the caches and, if none has the library, installs it in the first one
// that can be written.
func (c Config) cached(ctx context.Context, accept func(Location) error, tried *attempts) (Location, error) {
	const op = "find the ONNX Runtime library"
	at, err := c.lookup(tried)
	switch {
	case err == nil:
	case c.NoInstall:
		return Location{}, slo.E(op, slo.KindNotFound, "%w", tried.failure())
	default:
		store := firstWritable(c.stores(), tried)
		if store == nil {
			return Location{}, slo.E(op, slo.KindUnavailable, "%w", tried.failure())
		}
		if at, err = store.install(ctx, tried); err != nil {
			return Location{}, err
		}
	}
	if err := accept(at); err != nil {
		tried.add("%s: %v", at.Path, err)
		return Location{}, slo.E(op, slo.KindInternal, "%w", tried.failure())
	}
	return at, nil
}

// lookup finds a library that is installed in one of the caches.
func (c Config) lookup(tried *attempts) (at Location, err error) {
	for _, store := range c.stores() {
		if at, err = store.lookup(); err == nil {
			return at, nil
		}
		tried.add("%v", err)
	}
	return Location{}, err
}

// firstWritable returns the first cache in which files can be created, nil if there is
// none.
func firstWritable(stores []*store, tried *attempts) *store {
	for _, s := range stores {
		err := s.cache.Make()
		if err == nil {
			return s
		}
		tried.add("nothing can be installed in %s: %v", s.root, err)
	}
	return nil
}

// attempts collects what was tried, for the error.
type attempts []string

func (a *attempts) add(format string, args ...any) { *a = append(*a, fmt.Sprintf(format, args...)) }

// failure returns the error that lists the attempts and what to do.
func (a *attempts) failure() error {
	return fmt.Errorf("no ONNX Runtime library of version %s or later can be used. Tried:\n  - %s\n"+
		"What to do: run \"mosel runtime install\" where the official release, PyPI or npm can be reached (HTTPS_PROXY is honoured), or "+
		"download %s on another machine and set %s to the path of its %s",
		Oldest, strings.Join(*a, "\n  - "), releasePage, EnvironmentVariable, fileName(runtime.GOOS))
}

// systemDirs returns the directories that the system's dynamic linker would search,
// without asking it.
func systemDirs(goos, goarch string, getenv func(string) string) []string {
	variable, usual := "LD_LIBRARY_PATH", []string{"/usr/local/lib", "/usr/lib", "/usr/lib64", "/opt/onnxruntime/lib"}
	if triple := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[goarch]; triple != "" {
		usual = append(usual, "/usr/lib/"+triple)
	}
	if goos == "darwin" {
		variable, usual = "DYLD_LIBRARY_PATH", []string{"/opt/homebrew/lib", "/usr/local/lib"}
	}
	var dirs []string
	for _, dir := range append(filepath.SplitList(getenv(variable)), usual...) {
		if filepath.IsAbs(dir) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// fileName returns the library's file name on a system, without a version.
func fileName(goos string) string {
	if goos == "darwin" {
		return "libonnxruntime.dylib"
	}
	return "libonnxruntime.so"
}

var (
	linuxForm  = regexp.MustCompile(`^libonnxruntime\.so(\.[0-9]+)*$`)
	darwinForm = regexp.MustCompile(`^libonnxruntime(\.[0-9]+)*\.dylib$`)
)

// candidates returns the libraries in a directory, each real file once, the newest
// first; none if the directory cannot be read.
func candidates(dir, goos string) []string {
	form := linuxForm
	if goos == "darwin" {
		form = darwinForm
	}
	entries, _ := os.ReadDir(dir)
	var files []string
	for _, entry := range entries {
		if !form.MatchString(entry.Name()) {
			continue
		}
		file, err := filepath.EvalSymlinks(filepath.Join(dir, entry.Name()))
		if err == nil && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	slices.SortStableFunc(files, func(a, b string) int { return compareVersions(fileVersion(b), fileVersion(a)) })
	return files
}

var versionForm = regexp.MustCompile(`\.([0-9]+\.[0-9]+(\.[0-9]+)?)(\.dylib)?$`)

// fileVersion returns the version in a file name such as libonnxruntime.so.1.26.0, ""
// if there is none.
func fileVersion(file string) string {
	match := versionForm.FindStringSubmatch(filepath.Base(file))
	if match == nil {
		return ""
	}
	return match[1]
}

func olderThan(version, than string) bool { return compareVersions(version, than) < 0 }

// compareVersions orders dotted numbers. A missing part counts as 0; "" comes before
// every version.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := cmp.Compare(part(as, i), part(bs, i)); c != 0 {
			return c
		}
	}
	return 0
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i]) // fileVersion allows only digits; a number that is too long is no known version
	return n
}
