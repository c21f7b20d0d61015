package repository

import (
	"context"
	"slices"
	"time"
)

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
