package repository

import (
	"context"
	"slices"
	"time"
)

// Watch calls Poll at intervals until ctx ends.
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

// Poll looks at the directory once. It deploys packages that have changed since they
// were read and not since the last look. Errors are logged, and the index has them.
func (r *Repository) Poll() {
	if r.lock() != nil {
		return
	}
	defer r.unlock()
	r.discover()
	looks := make([]fingerprint, len(r.packages))
	errs := make([]error, len(r.packages))
	empty := true
	for i, p := range r.packages {
		looks[i], errs[i] = r.look(p.dir)
		empty = empty && errs[i] == nil && looks[i] == nothing
	}
	r.mu.Lock()
	r.empty = empty
	r.mu.Unlock()
	if empty || r.life.Err() != nil {
		return
	}
	for i, p := range slices.Clone(r.packages) {
		if errs[i] != nil {
			_ = r.postpone(p, errs[i]) // logs it
			continue
		}
		r.update(p, looks[i])
	}
	for _, p := range slices.Clone(r.packages) {
		if p.blocked && p.seen == p.files && r.blocker(p) == nil {
			_ = r.renew(p) // logs its error
		}
	}
}

// update deploys or removes a package after a look, if its files have changed and were
// the same at the look before.
func (r *Repository) update(p *pack, now fingerprint) {
	settled := now == p.seen && now != p.files
	r.mu.Lock()
	p.seen = now
	r.mu.Unlock()
	switch {
	case !settled:
	case now == nothing:
		if err := r.withdraw(p); err != nil {
			r.cfg.Log.Error("a model package was removed, and its model cannot be unloaded", "directory", p.dir, "error", err)
		}
		r.forget(p)
	default:
		_ = r.renew(p) // logs its error
	}
}

// forget drops a package that was removed.
func (r *Repository) forget(p *pack) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packages = slices.DeleteFunc(slices.Clone(r.packages), func(o *pack) bool { return o == p })
}
