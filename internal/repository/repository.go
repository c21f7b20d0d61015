// Package repository has an engine serve the model packages in a directory. At the
// start it reads and deploys all packages. A package with an error is not served; the
// index and the log say why, and the other packages are served. The server does not
// start if no package can be served, or with Config.Strict if one cannot.
//
// Later a package is deployed, replaced or removed when its files change or when the
// API asks for it. If the changed package has an error, the earlier one stays in
// service and the index says what is wrong. If the system cannot read a package now
// (too many open files, a network disk that is not mounted), nothing changes, and the
// package is read again at the next look.
//
// The repository looks at sizes and times of files every few seconds. That notices
// every change on every kind of file system, also a link that is switched to another
// directory, and takes a few system calls. A package is read when two looks in a row
// saw the same files, so one that is being copied is not read before it is complete.
//
// If the directory has no packages left at all, nothing is unloaded: most likely the
// file system is not mounted. The last package can be unloaded through the API.
package repository

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Config says where the packages are and which of them are served.
type Config struct {
	// Dir is a directory of model packages, or one package.
	Dir string
	// Only names the packages of Dir that are served; nil serves all.
	Only []string
	// Device names the profile to plan by; "" finds it, see modelpkg.FindProfile.
	Device string
	// Providers are those that graphs run on, see modelpkg.FindProfileOn.
	Providers []modelpkg.Provider
	// NoCascades serves only the variants of the models, and none of the cascades that
	// their profiles have.
	NoCascades bool
	// Strict makes an error in one package an error of Open and Serve.
	Strict bool
	Log    *slog.Logger
	// Work, if not nil, records reads that may hang, by name: a disk may not answer.
	Work *pending.Work
}

// State says whether a package is served.
type State string

// The states, in the words of Triton.
const (
	Ready       State = "READY"
	Unavailable State = "UNAVAILABLE"
)

// Entry is the index's entry of a package.
type Entry struct {
	Name    string
	Version string
	State   State
	Reason  string // why it is not ready, or why an earlier package is served than the one on disk; else ""
}

// Repository is the packages in a directory and the state of each. It is safe for
// concurrent use; changes are made one at a time.
type Repository struct {
	cfg    Config
	single bool // Dir is a package
	engine *engine.Engine
	life   context.Context // ends with Close
	end    context.CancelFunc

	changing chan struct{}   // a lock: its holder reads and deploys packages, and alone changes the fields below
	mu       sync.Mutex      // guards the fields below, never held for long
	packages []*pack         // in the order of their directories
	unloaded map[string]bool // models that were unloaded through the API and not loaded since
	empty    bool            // the directory has no packages any more
}

// Open reads the packages in a directory with their profiles. It deploys nothing. The
// index and the log have the error of each package; Open returns an error if all
// packages have one, or with Config.Strict if one has. Of two packages with the same
// name and version, the second in the order of directories has an error.
func Open(cfg Config) (*Repository, error) {
	if cfg.Work == nil {
		cfg.Work = new(pending.Work)
	}
	defer cfg.Work.Begin("reading the model packages in " + cfg.Dir)()
	r := &Repository{cfg: cfg, unloaded: map[string]bool{}, changing: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancel(context.Background())
	_, err := os.Stat(filepath.Join(cfg.Dir, modelpkg.FileName))
	r.single = err == nil
	dirs, err := r.dirs()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		p := &pack{dir: dir}
		if err := r.readFirst(p); err != nil {
			_ = r.refuse(p, err) // verdict returns it
		}
		r.packages = append(r.packages, p)
	}
	return r, r.verdict(func(p *pack) bool { return p.problem == nil })
}

// readFirst reads a package for the first time.
func (r *Repository) readFirst(p *pack) error {
	files, err := r.look(p.dir)
	if err != nil {
		p.files, p.seen = unread, unread
		return err
	}
	p.files, p.seen = files, files
	found, err := r.read(p.dir)
	if err != nil {
		if modelpkg.IsSystemFault(err) {
			p.files = unread
		}
		return err
	}
	p.found = found
	for _, other := range r.packages {
		if other.problem == nil && sameModel(other.found.Model, found.Model) {
			p.blocked = true
			return p.taken(other)
		}
	}
	return nil
}

// verdict is the error of a start: the errors of all packages if none is ok, or if one
// has an error and Config.Strict is set.
func (r *Repository) verdict(ok func(*pack) bool) error {
	var wrong []error
	some := false
	for _, p := range r.packages {
		some = some || ok(p)
		if p.problem != nil {
			wrong = append(wrong, p.problem)
		}
	}
	if some && !r.cfg.Strict {
		return nil
	}
	return errors.Join(wrong...)
}

// Close ends calls in progress, such as a read from a disk that does not answer.
// Afterwards nothing is read or deployed.
func (r *Repository) Close() { r.end() }

// lock waits for the right to change packages. It fails after Close.
func (r *Repository) lock() error {
	select {
	case r.changing <- struct{}{}:
		if r.life.Err() == nil {
			return nil
		}
		r.unlock()
	case <-r.life.Done():
	}
	return slo.E("change models", slo.KindUnavailable, "%s", slo.ReasonDraining.Sentence())
}

func (r *Repository) unlock() { <-r.changing }

// Found lists the models that were read and are not unloaded, in the order of their
// directories.
func (r *Repository) Found() []engine.Served {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []engine.Served
	for _, p := range r.packages {
		if p.found.Model != nil && !p.blocked && !r.isUnloaded(p) {
			list = append(list, p.found)
		}
	}
	return list
}

// Serve has an engine serve what Open found, package by package. It is called once.
// The index and the log have the error of each package that cannot be deployed; Serve
// returns an error if none can be served, or with Config.Strict if one cannot. If ctx
// ends before all are deployed, the error has kind cancelled.
func (r *Repository) Serve(ctx context.Context, e *engine.Engine) error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.unlock()
	r.mu.Lock()
	r.engine = e
	r.mu.Unlock()
	for _, p := range r.packages {
		if p.problem != nil {
			continue
		}
		r.cfg.Log.Info("loading", "model", p.found.Model.Name, "version", p.found.Model.Version, "directory", p.dir)
		err := e.Deploy(ctx, p.found)
		if ctx.Err() != nil {
			return slo.E("load the models", slo.KindCancelled, "%w", context.Cause(ctx))
		}
		if err != nil {
			_ = r.refuse(p, err) // verdict returns it
			continue
		}
		r.settle(p, p.found.Model, p.found.Profile)
	}
	return r.verdict(func(p *pack) bool { return p.served != nil })
}

// Index lists all packages by the names of their models, ready or not.
func (r *Repository) Index() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Entry
	for _, p := range r.packages {
		e := p.entry()
		switch {
		case e.Reason != "":
		case p.served != nil && r.empty:
			e.Reason = "the model directory has no packages any more; the model that was loaded before stays in service"
		case p.served == nil && r.isUnloaded(p):
			e.Reason = "unloaded"
		case p.served == nil && p.seen == nothing:
			e.Reason = "there is no package in " + p.dir
		case p.served == nil:
			e.Reason = "not loaded yet"
		}
		list = append(list, e)
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}
