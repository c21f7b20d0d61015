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
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

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

// pack is one package directory.
type pack struct {
	dir     string
	files   fingerprint     // as they were when the package was last read
	seen    fingerprint     // as they were at the last look
	found   engine.Served   // as it was last read; no model: never with success
	served  *modelpkg.Model // that the engine serves; nil: none
	profile *modelpkg.Profile
	problem error // why the package as it is on disk is not served
	blocked bool  // that is because of another package
	off     bool  // unloaded through the API, whatever its model is called by now
	unseen  bool  // the system cannot read it now
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

// blocker is the package whose model is served under the name and version of
// another's; nil: none.
func (r *Repository) blocker(p *pack) *pack {
	for _, other := range r.packages {
		if other != p && sameModel(other.served, p.found.Model) {
			return other
		}
	}
	return nil
}

func sameModel(a, b *modelpkg.Model) bool {
	return a != nil && b != nil && a.Name == b.Name && a.Version == b.Version
}

// taken says that another package has the name and version.
func (p *pack) taken(by *pack) error {
	m := p.found.Model
	return slo.E("load "+p.dir, slo.KindInvalid, "its model is named %q, version %q, as is that of %s", m.Name, m.Version, by.dir)
}

// isOff reports whether a package was unloaded through the API, itself or as one of
// its model's.
func (r *Repository) isOff(p *pack) bool {
	return p.off || p.found.Model != nil && r.off[p.found.Model.Name]
}

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

func (p *pack) entry() Entry {
	e := Entry{Name: filepath.Base(p.dir), State: Unavailable}
	if p.found.Model != nil {
		e.Name, e.Version = p.found.Model.Name, p.found.Model.Version
	}
	if p.served != nil {
		e.Name, e.Version, e.State = p.served.Name, p.served.Version, Ready
	}
	switch {
	case p.problem != nil && p.served != nil:
		e.Reason = "the package has changed and is not right, what was loaded before is served: " + p.problem.Error()
	case p.problem != nil:
		e.Reason = p.problem.Error()
	case p.unseen:
		e.Reason = "the package cannot be read now, it stays as it is"
	}
	return e
}

// Load reads the packages of a model anew and deploys what is not served as it is
// on disk, all versions of it, also what was unloaded. A name is a model's or a
// package directory's. Errors have kind not found, or are those of reading and
// deploying; what was served before then is served on.
func (r *Repository) Load(name string) error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.unlock()
	r.discover()
	for _, p := range r.packages {
		if p.found.Model != nil {
			continue
		}
		if found, err := r.read(p.dir); err == nil { // so that it is known by its model's name; renew says what is wrong
			r.mu.Lock()
			p.found = found
			r.mu.Unlock()
		}
	}
	packs := r.named(name)
	if len(packs) == 0 {
		return slo.E("load "+name, slo.KindNotFound, "there is no model package of that name in the model directory")
	}
	var errs []error
	for _, p := range packs {
		r.mu.Lock()
		p.off = false
		delete(r.off, name)
		if p.found.Model != nil {
			delete(r.off, p.found.Model.Name)
		}
		r.mu.Unlock()
	}
	for _, p := range packs {
		errs = append(errs, r.renew(p))
	}
	return errors.Join(errs...)
}

// Unload ends the service of a model, all versions of it: new requests do not find
// it, those under way finish. It stays unloaded until Load, whatever happens to
// its files. The error has kind not found.
func (r *Repository) Unload(name string) error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.unlock()
	packs := r.named(name)
	if len(packs) == 0 {
		return slo.E("unload "+name, slo.KindNotFound, "there is no model of that name")
	}
	var errs []error
	for _, p := range packs {
		r.mu.Lock()
		p.off = true
		for _, m := range []*modelpkg.Model{p.found.Model, p.served} {
			if m != nil {
				r.off[m.Name] = true
			}
		}
		r.mu.Unlock()
		errs = append(errs, r.withdraw(p))
	}
	return errors.Join(errs...)
}

// named lists the packages of a model or, if there are none, of a directory of
// that name. Nothing of the name is used as a path.
func (r *Repository) named(name string) []*pack {
	r.mu.Lock()
	defer r.mu.Unlock()
	var models, dirs []*pack
	for _, p := range r.packages {
		if p.found.Model != nil && p.found.Model.Name == name || p.served != nil && p.served.Name == name {
			models = append(models, p)
		}
		if filepath.Base(p.dir) == name {
			dirs = append(dirs, p)
		}
	}
	if models != nil {
		return models
	}
	return dirs
}

// withdraw ends the service of a package.
func (r *Repository) withdraw(p *pack) error {
	m := p.served
	if m == nil {
		return nil
	}
	if err := r.engine.Remove(m.Name, m.Version); err != nil {
		return err
	}
	r.settle(p, nil, nil)
	r.cfg.Log.Info("unloaded", "model", m.Name, "version", m.Version)
	return nil
}

// renew reads a package and deploys it, unless what is served is just that, or it
// is to stay unloaded.
func (r *Repository) renew(p *pack) error {
	files, err := r.look(p.dir)
	var found engine.Served
	if err == nil {
		found, err = r.read(p.dir)
	}
	if modelpkg.IsSystemFault(err) || r.life.Err() != nil {
		return r.postpone(p, err)
	}
	r.mu.Lock()
	p.files, p.seen = files, files
	p.blocked, p.unseen = false, false
	if err == nil {
		p.found = found
	}
	old, profile := p.served, p.profile
	off, by := r.isOff(p), r.blocker(p)
	r.mu.Unlock()
	switch {
	case err != nil:
		return r.refuse(p, err)
	case off, sameModel(old, found.Model) && old.Digest == found.Model.Digest && reflect.DeepEqual(profile, found.Profile):
		r.settle(p, old, profile)
		return nil
	case by != nil:
		r.mu.Lock()
		p.blocked = true
		r.mu.Unlock()
		return r.refuse(p, p.taken(by))
	}
	began := time.Now()
	r.cfg.Log.Info("loading", "model", found.Model.Name, "version", found.Model.Version, "directory", p.dir)
	if err := r.engine.Deploy(r.life, found); err != nil {
		if modelpkg.IsSystemFault(err) || r.life.Err() != nil {
			return r.postpone(p, err)
		}
		return r.refuse(p, err)
	}
	r.settle(p, found.Model, found.Profile)
	r.cfg.Log.Info("loaded", "model", found.Model.Name, "version", found.Model.Version, "profile", found.Profile.Device,
		"after", time.Since(began).Round(time.Millisecond))
	if old != nil && !sameModel(old, found.Model) {
		return r.engine.Remove(old.Name, old.Version)
	}
	return nil
}

// refuse notes why a package is not served as it is.
func (r *Repository) refuse(p *pack, err error) error {
	r.cfg.Log.Error("a model package is not right", "directory", p.dir, "error", err, "still served", p.served != nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.problem = err
	return err
}

// postpone leaves a package as it is, because the system cannot read it now: the
// next looks try again.
func (r *Repository) postpone(p *pack, err error) error {
	if r.life.Err() != nil {
		return slo.E("load "+p.dir, slo.KindUnavailable, "%s", slo.ReasonDraining.Sentence())
	}
	r.mu.Lock()
	told := p.unseen
	p.unseen, p.files = true, unread
	r.mu.Unlock()
	if !told {
		r.cfg.Log.Warn("a model package cannot be read now and stays as it is", "directory", p.dir, "error", err, "still served", p.served != nil)
	}
	return slo.E("load "+p.dir, slo.KindUnavailable, "it cannot be read now: %w", err)
}

// settle notes that a package is served as it is, or that nothing of it is.
func (r *Repository) settle(p *pack, served *modelpkg.Model, profile *modelpkg.Profile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.served, p.profile, p.problem, p.blocked = served, profile, nil, false
}

// Watch looks at the directory every so often until ctx ends.
func (r *Repository) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.Poll()
		}
	}
}

// Poll looks at the directory once and deploys what has changed and has been the
// same since the last look. Errors are logged and in the index.
func (r *Repository) Poll() {
	if r.lock() != nil {
		return
	}
	defer r.unlock()
	r.discover()
	looks := make([]fingerprint, len(r.packages))
	errs := make([]error, len(r.packages))
	away := true
	for i, p := range r.packages {
		looks[i], errs[i] = r.look(p.dir)
		away = away && errs[i] == nil && looks[i] == nothing
	}
	r.mu.Lock()
	r.away = away
	r.mu.Unlock()
	if away || r.life.Err() != nil {
		return
	}
	for i, p := range slices.Clone(r.packages) {
		if errs[i] != nil {
			_ = r.postpone(p, errs[i]) // it has told
			continue
		}
		r.follow(p, looks[i])
	}
	for _, p := range slices.Clone(r.packages) {
		if p.blocked && p.seen == p.files && r.blocker(p) == nil {
			_ = r.renew(p) // refuse has told
		}
	}
}

// follow does what the look of a package asks for.
func (r *Repository) follow(p *pack, now fingerprint) {
	settled := now == p.seen && now != p.files
	r.mu.Lock()
	p.seen = now
	r.mu.Unlock()
	switch {
	case !settled:
	case now == nothing:
		if err := r.withdraw(p); err != nil {
			r.cfg.Log.Error("a model package is gone, and its model cannot be unloaded", "directory", p.dir, "error", err)
		}
		r.forget(p)
	default:
		_ = r.renew(p) // refuse has told
	}
}

// forget drops a package that is gone.
func (r *Repository) forget(p *pack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packages = slices.DeleteFunc(slices.Clone(r.packages), func(o *pack) bool { return o == p })
}
