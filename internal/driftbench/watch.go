package main

import (
	"context"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/status"
)

// watchEvery is how often the server is asked: a few requests go by meanwhile.
const watchEvery = 50 * time.Millisecond

// sighting is what a server has reported over time.
type sighting struct {
	reported bool // it reports drift
	changes  []change
}

// change is an instant at which a report has changed.
type change struct {
	at      time.Duration
	changed bool // the data are not as those of the profile
}

// first returns when the data were first reported to have changed, in a part of the run;
// otherwise its end and false.
func (s sighting) first(from, to time.Duration) (time.Duration, bool) {
	if from > 0 && s.changedAt(from) {
		return from, true
	}
	for _, c := range s.changes {
		if c.changed && c.at >= from && c.at < to {
			return c.at, true
		}
	}
	return to, false
}

// changedAt returns what was last reported.
func (s sighting) changedAt(at time.Duration) (changed bool) {
	for _, c := range s.changes {
		if c.at <= at {
			changed = c.changed
		}
	}
	return changed
}

// watcher asks a server what it has noticed, until it is stopped.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}
	seen   sighting
	err    error
}

// watch begins to ask a server at a URL. Times count from now.
func watch(ctx context.Context, url string) (*watcher, error) {
	c, err := client.New(url, client.Options{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, done: make(chan struct{})}
	start := time.Now()
	go func() {
		defer close(w.done)
		defer c.Close()
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if w.ask(ctx, c, start); w.err != nil {
				return
			}
		}
	}()
	return w, nil
}

// ask asks once.
func (w *watcher) ask(ctx context.Context, c *client.Client, start time.Time) {
	report, err := c.Status(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.err = err
		}
		return
	}
	w.note(report.Models, time.Since(start))
}

// note notes what a status says.
func (w *watcher) note(models []status.Model, at time.Duration) {
	changed := false
	for _, m := range models {
		if m.Drift != nil {
			w.seen.reported = true
			changed = changed || m.Drift.Changed
		}
	}
	if n := len(w.seen.changes); n == 0 && changed || n > 0 && w.seen.changes[n-1].changed != changed {
		w.seen.changes = append(w.seen.changes, change{at: at, changed: changed})
	}
}

// stop ends it and returns what it has seen.
func (w *watcher) stop() (sighting, error) {
	w.cancel()
	<-w.done
	return w.seen, w.err
}
