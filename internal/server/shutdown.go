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

// Leave makes the server report that it is not ready, over both transports, while it
// answers requests as before. Load balancers then have time to send requests elsewhere
// before Shutdown. Answers over REST close their connections.
func (s *Server) Leave() { s.api.Drain() }

const (
	// lastAnswersTime is how long clients have to read their last answers once all
	// admitted requests have run. A stream that a client keeps open longer has no more
	// answers, so cutting it off is no error.
	lastAnswersTime = 5 * time.Second
	// EndTime is how long a shutdown goes on after its limit to free what it can.
	EndTime = 1200 * time.Millisecond
)

// Shutdown refuses new requests, finishes the admitted ones and frees everything. If ctx
// ends first, the remaining requests are answered as unavailable, and Shutdown returns
// ctx's error within EndTime, even if something hangs; the error names it. A Warm that
// is in progress ends. Shutdown may be called more than once.
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
	case <-late.Done(): // another Shutdown with a later limit is in progress
		return ctx.Err()
	}
	return s.end(ctx, late)
}

// end ends everything: admitted requests until ctx ends, the rest until late ends.
func (s *Server) end(ctx, late context.Context) error {
	s.api.Drain() // Warm may have opened it since
	var errs []error
	_ = s.cfg.Work.Do(late, "watching the model directory", s.watching.Wait) // closeRuntime reports a watch that hangs
	if s.jobs != nil {
		_ = s.cfg.Work.Do(late, "closing the store of jobs", s.jobs.Close) // closeRuntime reports one that hangs
	}
	if e := s.engine.Load(); e != nil {
		if err := e.Drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("requests were still running when the time to drain was over: %w", err))
		}
	}
	stopped := s.part()
	for _, server := range []*http.Server{s.rest, s.metrics} {
		if server != nil && server.Shutdown(late) != nil {
			errs = append(errs, context.Cause(late), server.Close())
		}
	}
	s.cutOff(late, stopped)
	for _, l := range s.listeners {
		_ = l.Close() // also of a listener that no server has taken
	}
	s.flush(late)
	errs = append(errs, s.closeRuntime(ctx, late))
	s.collectAgain()
	return errors.Join(errs...)
}

// Part tells clients over gRPC to send their next requests elsewhere (GOAWAY), and closes
// the listener of gRPC; requests in progress are answered. It does not wait. Without Part,
// that happens in Shutdown once all admitted requests have run, and new requests over
// gRPC are answered as unavailable until then.
func (s *Server) Part() { s.part() }

func (s *Server) part() <-chan struct{} {
	s.stopGRPC.Do(func() {
		go func() {
			defer close(s.grpcStopped)
			if s.grpc != nil {
				s.grpc.GracefulStop()
			}
		}()
	})
	return s.grpcStopped
}

// cutOff waits until no call over gRPC is left, and after lastAnswersTime cuts off the
// rest.
func (s *Server) cutOff(late context.Context, stopped <-chan struct{}) {
	if s.grpc == nil {
		return
	}
	last, cancel := context.WithTimeout(late, lastAnswersTime)
	defer cancel()
	select {
	case <-stopped:
	case <-last.Done():
		s.grpc.Stop()
		select { // GracefulStop waits for the handlers of calls, and one may hang
		case <-stopped:
		case <-late.Done():
		}
	}
}

// closeRuntime closes the runtime, unless a call into it hangs: then it cannot be closed,
// and the error names the call. Loads that nobody waits for get EndTime to end.
func (s *Server) closeRuntime(ctx, late context.Context) error {
	moment, cancel := context.WithTimeout(late, EndTime)
	defer cancel()
	if err := s.cfg.Work.Idle(moment); err != nil {
		return errors.Join(ctx.Err(), slo.E("shut down", slo.KindInternal, "these did not end: %s", strings.Join(s.cfg.Work.Pending(), ", ")))
	}
	if s.runtime == nil || s.cfg.Runtime != nil {
		return nil
	}
	var err error
	if left := s.cfg.Work.Do(late, "closing ONNX Runtime", func() { err = s.runtime.Close() }); left != nil {
		return slo.E("shut down", slo.KindInternal, "closing ONNX Runtime did not end")
	}
	s.runtime = nil
	return err
}
