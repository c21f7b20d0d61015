package repository

import (
	"path/filepath"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
)

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
