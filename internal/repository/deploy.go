package repository

import (
	"errors"
	"path/filepath"
	"reflect"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Load reads the packages of a model again, all versions of it, and deploys those that
// are not served as they are on disk, also those that were unloaded. The name is that
// of a model or of a package directory. Errors have kind not found, or are those of
// reading and deploying; after these, what was served before stays in service.
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
		if found, err := r.read(p.dir); err == nil { // so that it can be found by its model's name; renew returns the error
			r.mu.Lock()
			p.found = found
			r.mu.Unlock()
		}
	}
	packs := r.named(name)
	if len(packs) == 0 {
		return slo.E("load "+name, slo.KindNotFound, "the model directory has no package with a model, or a directory, of that name")
	}
	var errs []error
	for _, p := range packs {
		r.mu.Lock()
		p.unloaded = false
		delete(r.unloaded, name)
		if p.found.Model != nil {
			delete(r.unloaded, p.found.Model.Name)
		}
		r.mu.Unlock()
	}
	for _, p := range packs {
		errs = append(errs, r.renew(p))
	}
	return errors.Join(errs...)
}

// Unload removes a model, all versions of it: new requests do not find it, those under
// way finish. It stays unloaded until Load, whatever happens to its files. The error
// has kind not found.
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
		p.unloaded = true
		for _, m := range []*modelpkg.Model{p.found.Model, p.served} {
			if m != nil {
				r.unloaded[m.Name] = true
			}
		}
		r.mu.Unlock()
		errs = append(errs, r.withdraw(p))
	}
	return errors.Join(errs...)
}

// named lists the packages of a model or, if there are none, those whose directory has
// that name. The name is never used as a path.
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

// withdraw removes the model of a package from the engine.
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

// renew reads a package and deploys it, unless it is served already or was unloaded.
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
	p.blocked, p.unreadable = false, false
	if err == nil {
		p.found = found
	}
	old, profile := p.served, p.profile
	unloaded, by := r.isUnloaded(p), r.blocker(p)
	r.mu.Unlock()
	switch {
	case err != nil:
		return r.refuse(p, err)
	case unloaded, sameModel(old, found.Model) && old.Digest == found.Model.Digest && reflect.DeepEqual(profile, found.Profile):
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

// refuse records and logs why the package on disk is not served.
func (r *Repository) refuse(p *pack, err error) error {
	r.cfg.Log.Error("a model package cannot be served", "directory", p.dir, "error", err, "earlier package in service", p.served != nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	p.problem = err
	return err
}

// postpone leaves a package as it is because the system cannot read it now. The next
// looks try again.
func (r *Repository) postpone(p *pack, err error) error {
	if r.life.Err() != nil {
		return slo.E("load "+p.dir, slo.KindUnavailable, "%s", slo.ReasonDraining.Sentence())
	}
	r.mu.Lock()
	logged := p.unreadable
	p.unreadable, p.files = true, unread
	r.mu.Unlock()
	if !logged {
		r.cfg.Log.Warn("a model package cannot be read now; nothing changes until it can", "directory", p.dir, "error", err, "earlier package in service", p.served != nil)
	}
	return slo.E("load "+p.dir, slo.KindUnavailable, "it cannot be read now: %w", err)
}

// settle records what is served of a package, and that it has no problem.
func (r *Repository) settle(p *pack, served *modelpkg.Model, profile *modelpkg.Profile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.served, p.profile, p.problem, p.blocked = served, profile, nil, false
}
