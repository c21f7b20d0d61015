package server

import "github.com/mosel-serve/mosel/internal/sched"

// Counts are the running totals of the core.
func (s *Server) Counts() sched.Counts {
	counts, _ := s.engine.Load().Counts()
	return counts
}
