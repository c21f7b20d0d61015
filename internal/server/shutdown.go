package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/pending"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Leave tells everybody who asks, over both transports, that the server is not ready
// any more, while it answers requests as before: load balancers have time to send
// them elsewhere before Shutdown. Answers over REST close their connections.
func (s *Server) Leave() { s.api.Drain() }

const (
	// lastAnswersTime is how long clients have to take their last answers once all that
	// was admitted has run. Nothing more can come on a stream that one keeps open then,
	// so it is no reason to wait longer, nor an error.
	lastAnswersTime = 5 * time.Second
	// EndTime is how long, after its limit, a shutdown goes on freeing what it can. What
	// has not ended then does not end.
	EndTime = 1200 * time.Millisecond
)

// Shutdown refuses new requests, lets what was admitted run to its end and frees
// everything. When ctx ends before, what is left is answered as unavailable, and
// ctx's error is returned EndTime later at the latest, whatever hangs; the error says
// what that is. Warm, if it is under way, ends. Shutdown may be called more than
// once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ended.Store(true)
	s.api.Drain()
	s.endLife()
	s.models.Close()
	late, cancel := pending.Grace(ctx, EndTime)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-late.Done(): // another Shutdown, with more patience
		return ctx.Err()
	}
	return s.end(ctx, late)
}

// end ends everything: what was admitted by the end of ctx, the rest by that of late.
func (s *Server) end(ctx, late context.Context) error {
	s.api.Drain() // Warm may have opened it since
	var errs []error
	_ = s.cfg.Work.Do(late, "watching the model directory", s.watching.Wait) // what hangs there is told below
	if e := s.engine.Load(); e != nil {
		if err := e.Drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("the time to drain is over: %w", err))
		}
	}
	parted := s.part()
	for _, server := range []*http.Server{s.rest, s.metrics} {
		if server != nil && server.Shutdown(late) != nil {
			errs = append(errs, context.Cause(late), server.Close())
		}
	}
	s.leave(late, parted)
	for _, l := range s.listeners {
		_ = l.Close() // of one that no server has taken, too
	}
	s.flush(late)
	errs = append(errs, s.closeRuntime(ctx, late))
	s.ballast = nil
	return errors.Join(errs...)
}

// Part parts from clients over gRPC while they are still answered: they are told to
// send their next requests elsewhere, and find no listener when they come back. It
// does not wait. Without it they are told when all that was admitted has run, and are
// answered as unavailable until then.
func (s *Server) Part() { s.part() }

func (s *Server) part() <-chan struct{} {
	s.parting.Do(func() {
		go func() {
			defer close(s.parted)
			if s.grpc != nil {
				s.grpc.GracefulStop()
			}
		}()
	})
	return s.parted
}

// leave waits until the clients over gRPC have gone, and cuts off who has not.
func (s *Server) leave(late context.Context, parted <-chan struct{}) {
	if s.grpc == nil {
		return
	}
	last, cancel := context.WithTimeout(late, lastAnswersTime)
	defer cancel()
	select {
	case <-parted:
	case <-last.Done():
		s.grpc.Stop()
		select { // it waits for the calls' handlers, and one may hang
		case <-parted:
		case <-late.Done():
		}
	}
}

// closeRuntime closes the runtime, unless something in it hangs: then it cannot be
// closed, and the error says what hangs. Loading that was given up has a moment to
// end by itself.
func (s *Server) closeRuntime(ctx, late context.Context) error {
	moment, cancel := context.WithTimeout(late, EndTime)
	defer cancel()
	if err := s.cfg.Work.Idle(moment); err != nil {
		return errors.Join(ctx.Err(), slo.E("shut down", slo.KindInternal, "it did not end: %s", strings.Join(s.cfg.Work.Pending(), ", ")))
	}
	if s.runtime == nil || s.cfg.Runtime != nil {
		return nil
	}
	var err error
	if left := s.cfg.Work.Do(late, "closing ONNX Runtime", func() { err = s.runtime.Close() }); left != nil {
		return slo.E("shut down", slo.KindInternal, "it did not end: closing ONNX Runtime")
	}
	s.runtime = nil
	return err
}
