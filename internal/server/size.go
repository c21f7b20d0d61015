package server

import (
	"context"
	"errors"
	"time"

	"github.com/mosel-serve/mosel/internal/cachedir"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/sizing"
)

// measureTimeMax is how long the measurement may take, with the loading of graphs for it.
const measureTimeMax = 10 * time.Second

// sizingBytesMax bounds what is kept of measurements; each has some hundred bytes.
const sizingBytesMax = 1 << 20

// size chooses the number of instances and threads by a measurement, if the
// configuration asks for it, and logs what was chosen and why.
func (s *Server) size(ctx context.Context) {
	chosen, why := sizing.Size{Instances: s.cfg.Instances, Threads: s.cfg.Threads}, "as configured"
	switch {
	case s.cfg.Measure && s.cfg.Instances == 1:
		why = "there is one core"
	case s.cfg.Measure:
		ctx, cancel := context.WithTimeout(ctx, measureTimeMax)
		defer cancel()
		type result struct {
			size sizing.Size
			why  string
		}
		found := make(chan result, 1)
		most := chosen
		left := s.cfg.Work.Do(ctx, "measuring the number of instances", func() {
			size, why := s.measured(ctx, most)
			found <- result{size, why}
		})
		why = "by the number of cores, since the measurement did not end"
		if left == nil {
			r := <-found
			chosen, why = r.size, r.why
		}
	}
	s.cfg.Instances, s.cfg.Threads = chosen.Instances, chosen.Threads
	s.cfg.Log.Info("instances", "instances", chosen.Instances, "threads", chosen.Threads, "why", why)
}

// measured measures with the first model that can be measured.
func (s *Server) measured(ctx context.Context, most sizing.Size) (sizing.Size, string) {
	var errs []error
	memory := sizing.NewMemory(cachedir.NewCache(cachedir.Find("sizing"), sizingBytesMax), modelpkg.ProviderNames(s.cfg.Providers))
	for _, found := range s.models.Found() {
		if found.Model.Isolation != modelpkg.IsolationNone { // only a process of its own may run its graphs
			continue
		}
		size, why, err := memory.Choose(ctx, s.runtime, found.Model, found.Profile, most)
		if err == nil {
			return size, why
		}
		errs = append(errs, err)
	}
	s.cfg.Log.Debug("no model could be measured", "error", errors.Join(errs...))
	return most, "by the number of cores, since no model could be measured"
}
