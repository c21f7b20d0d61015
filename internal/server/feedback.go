package server

import (
	"fmt"
	"time"

	"github.com/mosel-serve/mosel/internal/feedback"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/status"
)

// Feedback says how answers are kept for labels that come later. Who may bring labels is
// API.FeedbackRole.
type Feedback struct {
	On       bool
	Keep     time.Duration             // how long an answer can be labelled
	ItemsMax int                       // answered items of a model that are kept
	Evidence func([]feedback.Evidence) // nil, or gets what labels say, beside the engine; must not wait
}

// DefaultFeedback keeps nothing; once on, it keeps a day.
func DefaultFeedback() Feedback {
	return Feedback{Keep: feedback.KeepDefault, ItemsMax: feedback.ItemsMaxDefault}
}

func (f Feedback) validate() error {
	if f.On && (f.Keep <= 0 || f.ItemsMax < 1) {
		return fmt.Errorf("feedback keeps answers for %v, %d items: both must be above 0; without feedback nothing is kept", f.Keep, f.ItemsMax)
	}
	return nil
}

// evident gives the engine what labels say of its variants. Only items that were sampled at
// random are evidence.
func (s *Server) evident(list []feedback.Evidence) {
	e := s.engine.Load()
	for _, one := range list {
		if one.Sampled {
			e.Label(one.Model, one.Version, one.Of, one.Score)
		}
	}
	if s.cfg.Feedback.Evidence != nil {
		s.cfg.Feedback.Evidence(list)
	}
}

// takeFeedback makes the store of answers, and registers its metrics; nil if it is off.
func (s *Server) takeFeedback() (*feedback.Store, error) {
	if !s.cfg.Feedback.On {
		return nil, nil
	}
	store := feedback.New(feedback.Config{Keep: s.cfg.Feedback.Keep, ItemsMax: s.cfg.Feedback.ItemsMax, Sink: s.evident,
		Served: func(name, version, digest string) bool {
			l, err := s.engine.Load().Use(name, version)
			if err != nil {
				return false
			}
			defer l.Release()
			return l.Model.Digest == digest
		}})
	return store, obs.Feedback(s.registry, func() (list []status.Feedback) {
		e := s.engine.Load()
		if e == nil {
			return nil
		}
		for _, served := range e.List() {
			list = append(list, store.Report(served.Model, e.Now(), time.Now(), false))
		}
		return list
	})
}
