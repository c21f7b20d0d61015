package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
)

// The variants of a model run at one or more sites: here, on every worker of class 0; and
// on other servers, each of which is a site of its own. For each model and server there
// is one more worker, whose class in the core is its own. So a server has its own slots,
// and while it is away the variants of other sites are served. A variant of which only
// some stages run on a server belongs to the server's site; one that needs two servers, to
// a site of both.

// site is where some of a model's variants run.
type site struct {
	server   string    // scheme and address, or several; "": here
	variants []int     // nil: all variants of the model
	loaded   *instance // on another server, until a worker has it; nil: the server is away
	away     bool      // it was when the model was loaded
}

// set is the site's variants for the core: those of the model, and what is left of them
// after other steps.
func (s *site) set(r *routing) (set plan.Set) {
	for i, v := range r.variants {
		if s.has(v.variant) {
			set |= 1 << i
		}
	}
	return set
}

func (s *site) has(variant int) bool {
	return s.variants == nil || slices.Contains(s.variants, variant)
}

// sitesOf divides the variants of a model: those here first, if there are any.
func sitesOf(m *modelpkg.Model) (sites []*site) {
	for v := range m.Variants {
		server := strings.Join(m.ServersOf(v), ", ")
		i := slices.IndexFunc(sites, func(s *site) bool { return s.server == server })
		if i < 0 {
			i, sites = len(sites), append(sites, &site{server: server})
		}
		sites[i].variants = append(sites[i].variants, v)
	}
	if len(sites) == 1 {
		sites[0].variants = nil
	}
	slices.SortStableFunc(sites, func(a, b *site) int {
		switch {
		case a.server == "" && b.server != "":
			return -1
		case b.server == "" && a.server != "":
			return 1
		}
		return 0
	})
	return sites
}

// here returns the site that is here; nil if all variants run on other servers.
func (d *deployment) here() *site {
	if d.sites[0].server == "" {
		return d.sites[0]
	}
	return nil
}

// elsewhere returns the sites on other servers.
func (d *deployment) elsewhere() []*site {
	if d.here() != nil {
		return d.sites[1:]
	}
	return d.sites
}

// on returns the instance of a worker; nil: it is lost, or runs none of the variants.
func (d *deployment) on(id sched.InstanceID) *instance {
	if int(id) >= len(d.instances) {
		return nil
	}
	return d.instances[id]
}

// put gives a worker an instance; nil: it has none.
func (d *deployment) put(id sched.InstanceID, in *instance) {
	for int(id) >= len(d.instances) {
		d.instances = append(d.instances, nil)
	}
	d.instances[id] = in
}

// all returns all instances, also those that no worker has yet.
func (d *deployment) all() []*instance {
	list := slices.Clone(d.instances)
	for _, s := range d.sites {
		list = append(list, s.loaded)
	}
	return list
}

// siteOf returns the site that has a variant.
func (d *deployment) siteOf(variant int) *site {
	return d.sites[slices.IndexFunc(d.sites, func(s *site) bool { return s.has(variant) })]
}

// keeps reports whether all instances of a variant's site run parts of it. Of a server
// that is away, the package says so.
func (d *deployment) keeps(variant int) bool {
	list := d.running(d.siteOf(variant))
	if len(list) == 0 {
		return d.Model.Variants[variant].Steps != nil
	}
	return !slices.ContainsFunc(list, func(i *instance) bool { return !runtime.Keeps(i.Instance, variant) })
}

// running returns the instances of a site, when the model is loaded.
func (d *deployment) running(s *site) []*instance {
	switch {
	case s.server == "":
		return d.instances
	case s.loaded != nil:
		return []*instance{s.loaded}
	}
	return nil
}

// siteOn returns the site whose variants a worker runs; nil: none.
func (d *deployment) siteOn(w *worker) *site {
	switch {
	case w.class == 0:
		return d.here()
	case w.served == d:
		return w.site
	}
	return nil
}

// loadSites loads the model in all its sites. A server that is away is waited for
// later, if the model has other sites.
func (e *Engine) loadSites(ctx context.Context, d *deployment) error {
	for _, s := range d.sites {
		count := 1
		if s.server == "" {
			count = e.cfg.Instances
		}
		for i := range count {
			loaded, err := e.runtime.Load(ctx, d.Model, runtime.Options{Threads: e.cfg.Threads, Variants: s.variants})
			if err != nil && ctx.Err() == nil && d.spare(e, s, err) {
				break
			}
			if err != nil {
				return fmt.Errorf("instance %d: %w", i, err)
			}
			if s.server == "" {
				d.instances = append(d.instances, newInstance(loaded))
			} else {
				s.loaded = newInstance(loaded)
			}
		}
	}
	return nil
}

// spare reports whether a model can be served although one of its sites failed with an
// error: a server is away, and another site is not.
func (d *deployment) spare(e *Engine, s *site, err error) bool {
	if s.server == "" || slo.KindOf(err) != slo.KindUnavailable {
		return false
	}
	others := d.here() != nil || slices.ContainsFunc(d.sites, func(o *site) bool { return o != s && !o.away })
	if !others {
		return false
	}
	s.away = true
	e.closeAll([]*instance{s.loaded})
	s.loaded = nil
	e.log.Warn("a server is away: its variants are served when it is back, the others are served now", "model", d.Model.Name, "version", d.Model.Version,
		"server", s.server, "error", err)
	return true
}

// station gives each server of a model a worker: one that has none any more, or a new
// one. It fails if there would be too many.
func (e *Engine) station(d *deployment) error {
	free := slices.DeleteFunc(slices.Clone(e.workers), func(w *worker) bool { return w.class == 0 || w.served != nil || w.reloading })
	sites := d.elsewhere()
	if more := len(sites) - len(free); more > 0 && len(e.workers)-e.cfg.Instances+more >= sched.ClassesMax {
		return slo.E("deploy "+d.Model.Name, slo.KindUnsupported, "its variants run on %d other servers; all models together may have %d", len(sites), sched.ClassesMax-1)
	}
	for i, s := range sites {
		var w *worker
		if i < len(free) {
			w = free[i]
		} else {
			w = e.hire(sched.InstanceID(len(e.workers)), sched.ClassID(len(e.workers)-e.cfg.Instances+1))
			e.workers = append(e.workers, w)
		}
		w.served, w.site, w.away = d, s, false
		d.put(w.id, s.loaded)
		s.loaded = nil
	}
	return nil
}

// residences describes for each class which variants the model has there.
func (d *deployment) residences(workers []*worker) []sched.Residence {
	list := make([]sched.Residence, 1)
	for _, w := range workers {
		s := d.siteOn(w)
		if s == nil {
			continue
		}
		for int(w.class) >= len(list) {
			list = append(list, sched.Residence{})
		}
		list[w.class] = sched.Residence{Variants: s.set(d.routing), Scale: d.scale}
	}
	return list
}

// open starts the workers of a model's servers: those that are away are waited for.
func (l *loop) open(d *deployment) {
	for _, w := range l.engine.workers {
		if w.class == 0 || w.served != d {
			continue
		}
		switch {
		case d.on(w.id) == nil:
			l.replace(w)
			l.leave(w)
		case !w.up:
			l.up(w)
		}
	}
	l.resizeAll()
}

// leave notes that a worker's server is away. If the model has other sites, jobs that
// need this one are refused from now on, and those that wait are given up: in the queue
// they would hold up the others. If it has none, jobs wait as long as they may.
func (l *loop) leave(w *worker) {
	d := w.served
	if d == nil || d.on(w.id) != nil || w.away || len(d.sites) == 1 {
		return
	}
	w.away = true
	d.away = l.away(d)
	for _, id := range slices.Sorted(maps.Keys(l.calls)) {
		if c := l.calls[id]; c != nil && c.served == d {
			l.strand(c)
		}
	}
}

// strand ends a job of which pending items need a server that is away. Those that wait
// for it behind a gate keep the answers that they have, if the floor allows it.
func (l *loop) strand(c *call) {
	if away := c.served.away; away != 0 && !c.answered && l.core.Needs(c.job, away) {
		l.step(sched.Cancel{Job: c.job, Reason: slo.ReasonAway, Without: away})
	}
}

// away returns the routes of a model that need a server that is away.
func (l *loop) away(d *deployment) (routes plan.Set) {
	var variants plan.Set
	for _, w := range l.engine.workers {
		if w.served == d && w.away {
			variants |= w.site.set(d.routing)
		}
	}
	for i, r := range d.planner.Routes() {
		needs := variants.Has(r.Variant)
		for _, b := range r.Next {
			needs = needs || routes.Has(b.Route)
		}
		if needs {
			routes |= 1 << i
		}
	}
	return routes
}

// strands reports whether an arriving job could be served, but not without the servers that are
// away.
func (d *deployment) strands(e sched.Arrive) bool {
	runs := e.Mixed
	if runs == nil {
		runs = []slo.Carried{{Items: e.Items, Present: e.Present, Choice: e.Choice, Sizes: e.Sizes}}
	}
	var all, left []plan.Group
	for _, r := range runs {
		r.NoRecovery = e.Objective.NoRecovery
		may := d.current.Load().Runnable(r)
		switch {
		case may == 0:
			return false // the core says so
		case may&^d.away == 0:
			return true
		}
		all, left = append(all, plan.Group{Items: r.Items, Allowed: may}), append(left, plan.Group{Items: r.Items, Allowed: may &^ d.away})
	}
	planner, floor := d.current.Load().At(e.Objective.Confidence), e.Objective.Floor.Times(e.Items)
	return planner.MaxScore(left) < floor && planner.MaxScore(all) >= floor
}
