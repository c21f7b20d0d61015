package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"

	"github.com/mosel-serve/mosel/internal/slo"
)

// pendingMessage is a call's message that has not been received yet.
type pendingMessage struct {
	timer     *time.Timer  // cancels the call when the time for the message is over
	conn      *meteredConn // connection of the message
	once      sync.Once
	stopWatch func() bool // stops watching for a call that ends before its message was received
}

// end records that the message was received completely, with the given size, or was
// abandoned.
func (m *pendingMessage) end(size int64, whole bool) {
	m.once.Do(func() {
		m.timer.Stop()
		m.conn.end(size, whole)
	})
}

type pendingMessageKey struct{}

// awaitMessage is called when a call begins. Its message must be received within
// Config.ReceiveTime; otherwise a client that sends it very slowly would hold memory
// and a stream for ever.
func (a *API) awaitMessage(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &pendingMessage{conn: a.connOf(ctx), timer: time.AfterFunc(a.cfg.ReceiveTime, func() { cancel(errReceiveTime) })}
	m.conn.begin()
	m.stopWatch = context.AfterFunc(ctx, func() { m.end(0, false) })
	return receiveTimeoutCtx{context.WithValue(ctx, pendingMessageKey{}, m)}, nil
}

// receiveTimeoutCtx is the context of a call whose message is awaited. When the time
// for the message is over, its error is DeadlineExceeded, which grpc-go turns into the
// status DEADLINE_EXCEEDED.
type receiveTimeoutCtx struct{ context.Context }

// Err implements context.Context.
func (c receiveTimeoutCtx) Err() error {
	if errors.Is(context.Cause(c.Context), errReceiveTime) {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

var errReceiveTime = slo.E("", slo.KindDeadlineExceeded, "the request was not received in time")

// messageReceived ends the wait for a call's message and returns the connection of the
// call.
func messageReceived(ctx context.Context, request any) *meteredConn {
	m, ok := ctx.Value(pendingMessageKey{}).(*pendingMessage)
	if !ok {
		return nil
	}
	m.stopWatch()
	m.end(messageBytes(request), true)
	return m.conn
}

// admitted is a stream that admit has accepted. It meters the messages that it
// receives.
type admitted struct {
	grpc.ServerStream
	ctx  context.Context
	conn *meteredConn
}

// RecvMsg implements grpc.ServerStream.
func (s *admitted) RecvMsg(m any) error {
	s.conn.begin()
	err := s.ServerStream.RecvMsg(m)
	s.conn.end(messageBytes(m), err == nil)
	return err
}

// Context implements grpc.ServerStream.
func (s *admitted) Context() context.Context { return s.ctx }
