// Package repository keeps what an engine serves in step with the model packages
// in a directory. At the start it reads and deploys them all; one that is not right
// is left out and told in the index and the log, and the others are served. It
// keeps the server from starting only where that is asked for (Config.Strict), or
// where nothing is left to serve. Later a package is deployed, replaced or removed
// when its files change or when the API asks for it, and one that is not right
// changes nothing: what was served before is served on, and the index says what is
// wrong. When the system cannot read a package now (too many open files, a network
// disk that is away), that says nothing about the package: it stays as it is, and is
// looked at again.
//
// Files are looked at every few seconds, by size and time: that sees every kind
// of change on every kind of file system, links that are switched to another
// directory included, at the cost of a few system calls. A package is read when
// its files have been the same twice in a row, so that one that is being copied is
// left alone until it is complete.
//
// When no package at all is to be found any more, nothing is unloaded: the file
// system is more likely to be away than the models to be unwanted. Who wants the
// last one gone unloads it through the API.
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

// Config says where packages are and how they are planned by.
type Config struct {
	// Dir is a directory of model packages, or one package.
	Dir string
	// Only names the packages of Dir that are served; nil serves all.
	Only []string
	// Device names the profile to plan by; "" finds it, see modelpkg.FindProfile.
	Device string
	// Strict makes one package that is not right an error of Open and Serve.
	Strict bool
	Log    *slog.Logger
	// Work, if not nil, gets what is under way that may hang, by name: a disk may
	// not answer.
	Work *pending.Work
}

// State is what a package is to the server.
type State string

// The states, as Triton's clients know them.
const (
	Ready       State = "READY"
	Unavailable State = "UNAVAILABLE"
)

// Entry says what there is of a model.
type Entry struct {
	Name    string
	Version string
	State   State
	Reason  string // why it is not ready, or, if it is, why what is on disk is not what is served; else ""
}

// Repository is the packages of a directory and what became of each. It is safe
// for concurrent use; changes are made one at a time.
type Repository struct {
	cfg    Config
	single bool // Dir is a package
	engine *engine.Engine
	life   context.Context // ends with Close
	end    context.CancelFunc

	changing chan struct{}   // has room for one: who reads and deploys packages, and changes what mu guards
	mu       sync.Mutex      // guards what follows, for short
	packages []*pack         // by directory
	off      map[string]bool // models that were unloaded through the API, until they are loaded through it
	away     bool            // no package is to be found any more
}

// Open reads the packages in a directory with their profiles. Nothing is deployed
// yet. What is wrong with a package is told in the index and the log; it is an error
// if all packages are wrong, or with Config.Strict. Of two packages with the same
// name and version, the one whose directory comes first is right.
func Open(cfg Config) (*Repository, error) {
	if cfg.Work == nil {
		cfg.Work = new(pending.Work)
	}
	defer cfg.Work.Begin("reading the model packages in " + cfg.Dir)()
	r := &Repository{cfg: cfg, off: map[string]bool{}, changing: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancel(context.Background())
	_, err := os.Stat(filepath.Join(cfg.Dir, modelpkg.FileName))
	r.single = err == nil
	dirs, err := r.dirs()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		p := &pack{dir: dir}
		if err := r.first(p); err != nil {
			_ = r.refuse(p, err) // it is told at the end, if at all
		}
		r.packages = append(r.packages, p)
	}
	return r, r.verdict(func(p *pack) bool { return p.problem == nil })
}

// first reads a package for the first time.
func (r *Repository) first(p *pack) error {
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

// verdict is the error of a start after which only some packages are right: all
// that is wrong if none is, or with Config.Strict.
func (r *Repository) verdict(right func(*pack) bool) error {
	var wrong []error
	some := false
	for _, p := range r.packages {
		some = some || right(p)
		if p.problem != nil {
			wrong = append(wrong, p.problem)
		}
	}
	if some && !r.cfg.Strict {
		return nil
	}
	return errors.Join(wrong...)
}

// Close ends what is under way, such as reading from a disk that does not answer.
// Nothing is read or deployed from then on.
func (r *Repository) Close() { r.end() }

// lock gives the right to change packages; an error after Close.
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

// Found is what was read and is not unloaded, in the order of the directories.
func (r *Repository) Found() []engine.Served {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []engine.Served
	for _, p := range r.packages {
		if p.found.Model != nil && !p.blocked && !r.isOff(p) {
			list = append(list, p.found)
		}
	}
	return list
}

// Serve has an engine serve what Open found, package by package. It is called once.
// A package that cannot be deployed is left out and told in the index and the log;
// it is an error if nothing can be served, or with Config.Strict. When ctx ends
// before all is deployed, the error is cancelled.
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
			_ = r.refuse(p, err) // it is told at the end, if at all
			continue
		}
		r.settle(p, p.found.Model, p.found.Profile)
	}
	return r.verdict(func(p *pack) bool { return p.served != nil })
}

// Index lists the models there are, ready or not, by name.
func (r *Repository) Index() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Entry
	for _, p := range r.packages {
		e := p.entry()
		switch {
		case e.Reason != "":
		case p.served != nil && r.away:
			e.Reason = "no package is to be found in the model directory any more, what was loaded before is served"
		case p.served == nil && r.isOff(p):
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
