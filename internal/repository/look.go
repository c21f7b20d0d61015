package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// This file has everything that reads the disk. A disk on a network may hang; callers
// wait for it only until the repository is closed.

// dirs lists the package directories: Dir itself if it is one, else those in it.
func (r *Repository) dirs() ([]string, error) {
	if r.single {
		return []string{r.cfg.Dir}, nil
	}
	var dirs []string
	if r.cfg.Only != nil {
		for _, name := range r.cfg.Only {
			dirs = append(dirs, filepath.Join(r.cfg.Dir, name))
		}
		return dirs, nil
	}
	if _, err := os.ReadDir(r.cfg.Dir); err != nil {
		return nil, slo.E("find models", slo.KindInvalid, "directory %s: %w", r.cfg.Dir, err)
	}
	found, err := filepath.Glob(filepath.Join(escapeGlob(r.cfg.Dir), "*", modelpkg.FileName))
	if err != nil {
		return nil, slo.E("find models", slo.KindInvalid, "directory %s: %w", r.cfg.Dir, err)
	}
	for _, f := range found {
		if dir := filepath.Dir(f); !strings.HasPrefix(filepath.Base(dir), ".") {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, slo.E("find models", slo.KindNotFound, "no model package in %s: a package is a directory with a %s", r.cfg.Dir, modelpkg.FileName)
	}
	return dirs, nil
}

// escapeGlob makes a pattern that matches only the path itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// discover adds new packages of the directory.
func (r *Repository) discover() {
	var dirs []string
	var err error
	if left := r.cfg.Work.Do(r.life, "listing the packages in "+r.cfg.Dir, func() { dirs, err = r.dirs() }); left != nil || err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, dir := range dirs {
		if !slices.ContainsFunc(r.packages, func(p *pack) bool { return p.dir == dir }) {
			r.packages = append(r.packages, &pack{dir: dir})
		}
	}
	slices.SortFunc(r.packages, func(a, b *pack) int { return strings.Compare(a.dir, b.dir) })
}

// read reads a package and its profile, and logs warnings about them.
func (r *Repository) read(dir string) (engine.Served, error) {
	var found engine.Served
	var err error
	left := r.cfg.Work.Do(r.life, "reading the package "+dir, func() { found, err = r.load(dir) })
	if left != nil {
		return engine.Served{}, left
	}
	return found, err
}

func (r *Repository) load(dir string) (engine.Served, error) {
	models := r.cfg.Dir
	if r.single {
		models = ""
	}
	m, err := modelpkg.LoadIn(models, dir)
	if err != nil {
		return engine.Served{}, err
	}
	profile, err := modelpkg.FindProfileOn(m, r.cfg.Device, r.cfg.Providers)
	if err != nil {
		if _, list := os.ReadDir(filepath.Join(dir, "profiles")); modelpkg.IsSystemFault(list) {
			err = list // a profile may be there that cannot be listed now
		}
		return engine.Served{}, err
	}
	for _, warning := range slices.Concat(m.Warnings, profile.Warnings()) {
		r.cfg.Log.Warn("warning about a model package", "directory", dir, "warning", warning)
	}
	if !slices.Equal(profile.Providers, r.cfg.Providers) {
		r.cfg.Log.Warn("the profile was measured with other providers, so its accuracies may not be those of this server: mosel profile "+dir+" --providers "+modelpkg.ProviderNames(r.cfg.Providers),
			"directory", dir, "profile", profile.Device, "measured with", modelpkg.ProviderNames(profile.Providers), "providers", modelpkg.ProviderNames(r.cfg.Providers))
	}
	if path, mode := writable(m); path != "" {
		r.cfg.Log.Warn("users other than its owner may write a model package, and so decide what is run: chmod -R go-w "+dir,
			"directory", dir, "path", path, "mode", mode)
	}
	served := engine.Served{Model: m, Profile: profile}
	if !r.cfg.NoCascades {
		served.Routes = engine.CascadesOf(m, profile)
	}
	return served, nil
}

// writableByOthers are the permissions of all users but the owner to write.
const writableByOthers fs.FileMode = 0o022

// writable is a file or directory of a package that users other than its owner may
// write, "" if there is none. It does not check the permissions of Windows.
func writable(m *modelpkg.Model) (path string, mode fs.FileMode) {
	if runtime.GOOS == "windows" {
		return "", 0
	}
	paths := []string{m.Dir, m.File("profiles")}
	for name := range m.Files {
		paths = append(paths, m.File(name))
	}
	slices.Sort(paths)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode()&writableByOthers != 0 {
			return path, info.Mode()
		}
	}
	return "", 0
}

// fingerprint identifies the state of a package's files. It changes when a file is
// added, removed or written, or when its permissions change.
type fingerprint string

const (
	// nothing is the fingerprint of a directory that does not exist or is no package.
	nothing fingerprint = ""
	// unread marks a package that could not be read. It differs from every fingerprint
	// that a look returns.
	unread fingerprint = "unread"
)

// How many files of a package are looked at (a package has dozens), and through how many
// links to directories in a row.
const (
	filesMax = 4096
	linksMax = 4
)

// look takes a directory's fingerprint. Errors about single files are part of it: only a
// package that certainly does not exist is nothing. An error means that the system
// cannot read the package now, or that the repository was closed.
func (r *Repository) look(dir string) (fingerprint, error) {
	var f fingerprint
	var err error
	left := r.cfg.Work.Do(r.life, "looking at the package "+dir, func() { f, err = look(dir) })
	if left != nil {
		return nothing, left
	}
	return f, err
}

func look(dir string) (fingerprint, error) {
	_, err := os.Stat(filepath.Join(dir, modelpkg.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nothing, nil
	}
	root := dir
	if err == nil {
		root, err = filepath.EvalSymlinks(dir)
	}
	if modelpkg.IsSystemFault(err) {
		return nothing, err
	}
	if err != nil {
		return fingerprint(err.Error()), nil //nolint:nilerr // the error is part of the fingerprint
	}
	l := looking{}
	l.walk(root, 0)
	if l.fault != nil {
		return nothing, l.fault
	}
	return fingerprint(l.text.String()), nil
}

// looking is a look in progress.
type looking struct {
	text  strings.Builder
	files int
	fault error // of the system, not of the package
}

func (l *looking) walk(root string, links int) {
	_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error { // errors are recorded by wrong
		if l.files++; l.files > filesMax || l.fault != nil {
			return fs.SkipAll
		}
		if err != nil {
			l.wrong(name, "", err)
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		link, _ := os.Readlink(name) // "" if it is no link
		info, err := os.Stat(name)   // of the file that a link points to
		if err != nil {
			l.wrong(name, link, err)
			return nil
		}
		fmt.Fprintf(&l.text, "%q %q %v %d %d\n", name, link, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if info.IsDir() && links < linksMax {
			if to, err := filepath.EvalSymlinks(name); err != nil {
				l.wrong(name, link, err)
			} else {
				l.walk(to, links+1)
			}
		}
		return nil
	})
}

// wrong records a file that cannot be looked at.
func (l *looking) wrong(name, link string, err error) {
	if modelpkg.IsSystemFault(err) {
		l.fault = err
	}
	fmt.Fprintf(&l.text, "%q %q %v\n", name, link, err)
}
