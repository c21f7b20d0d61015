package repository

import (
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

// pack is a package directory.
type pack struct {
	dir     string
	files   fingerprint       // when the package was last read
	seen    fingerprint       // at the last look
	found   engine.Served     // as it was last read; without a model if it could never be read
	served  *modelpkg.Model   // what the engine serves of it; nil: nothing
	profile *modelpkg.Profile // of served

	problem    error // why the package on disk is not served
	blocked    bool  // the problem is another package with the same name and version
	unloaded   bool  // through the API, also if its model's name has changed since
	unreadable bool  // the system cannot read it now
}

// blocker is another package whose model is served under the name and version of p's;
// nil: none.
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

// taken is the error of a package whose name and version another package has.
func (p *pack) taken(by *pack) error {
	m := p.found.Model
	return slo.E("load "+p.dir, slo.KindInvalid, "its model has the name %q and the version %q, which the package %s has too: change one of them", m.Name, m.Version, by.dir)
}

// isUnloaded reports whether a package was unloaded through the API, itself or as one
// of the packages of its model.
func (r *Repository) isUnloaded(p *pack) bool {
	return p.unloaded || p.found.Model != nil && r.unloaded[p.found.Model.Name]
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
		e.Reason = "the package has changed and cannot be served, so the earlier one stays in service: " + p.problem.Error()
	case p.problem != nil:
		e.Reason = p.problem.Error()
	case p.unreadable:
		e.Reason = "the package cannot be read now; nothing changes until it can"
	}
	return e
}
