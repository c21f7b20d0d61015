package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
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

// watch begins to ask. Times count from now.
func watch(ctx context.Context, url string) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{cancel: cancel, done: make(chan struct{})}
	start := time.Now()
	go func() {
		defer close(w.done)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if w.ask(ctx, url, start); w.err != nil {
				return
			}
		}
	}()
	return w
}

// ask asks once.
func (w *watcher) ask(ctx context.Context, url string, start time.Time) {
	report, err := readReport(ctx, url)
	if err != nil {
		if ctx.Err() == nil {
			w.err = err
		}
		return
	}
	w.note(report, time.Since(start))
}

// note notes what a report says.
func (w *watcher) note(r report, at time.Duration) {
	changed := false
	for _, m := range r.Models {
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

// report is what is used of GET /v1/status.
type report struct {
	Models []struct {
		Drift *struct {
			Changed bool `json:"changed"`
		} `json:"drift"`
	} `json:"models"`
}

func readReport(ctx context.Context, url string) (r report, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/status", http.NoBody)
	if err != nil {
		return r, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return r, fmt.Errorf("the status is answered with %s", answer.Status)
	}
	return r, json.NewDecoder(answer.Body).Decode(&r)
}
