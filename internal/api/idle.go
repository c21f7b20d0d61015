package api

import (
	"fmt"
	"time"
)

// idleTraffic counts the bytes that a gRPC connection has received since its last
// whole message. A connection between two calls, or with a stream on which no message
// comes, still sends control frames: pings, answers to pings, and flow control for the
// answers it reads. Those are few bytes. More bytes are either part of a message, which
// must be whole within its time, or empty frames, of which a client could send
// millions, each at the cost of the server's time. Frames cannot be told apart here,
// below TLS, so bytes are counted.
type idleTraffic struct {
	since    time.Time // the last message, or the beginning
	received int64     // since then
	excess   time.Time // when received exceeded what control frames take; zero: it has not
	late     int64     // bytes that may still be received of a message that is not awaited any more
}

const (
	// Control frames may take idleBytes at once and idleRate in a second: a ping takes
	// 17 bytes, 40 over TLS, and comes once a second at most.
	idleBytes = 16 << 10
	idleRate  = 128
	// A client confirms some 16 KiB of answers with two frames of 13 bytes, 70 over TLS.
	// One byte in answerPart is more than that.
	answerPart = 64
	// headersBytes may be received before a call is seen to begin.
	headersBytes = connBytesFree
	// flightBytes of a message may be on the network when its call ends early, because
	// the message is too large or takes too long: the largest window that grpc-go gives
	// a connection.
	flightBytes = 16 << 20
)

// messageEnded notes that a message was received whole, or is not awaited any more.
func (s *idleTraffic) messageEnded(now time.Time, whole bool) {
	*s = idleTraffic{since: now}
	if !whole {
		s.late = flightBytes
	}
}

// receive counts n more bytes. written is what the server has written since the last
// message; awaited says whether a message is being received, which may take the limit.
// After an error the connection must be closed.
func (s *idleTraffic) receive(n int, written int64, awaited bool, limit time.Duration, now time.Time) error {
	s.received += int64(n)
	over := s.received - idleBytes - int64(now.Sub(s.since).Seconds()*idleRate) - written/answerPart
	switch {
	case over <= 0:
		return nil
	case !awaited && over > headersBytes+s.late:
		return fmt.Errorf("received %d bytes in %v without a call", s.received, now.Sub(s.since).Round(time.Millisecond))
	case s.excess.IsZero():
		s.excess = now
	case now.Sub(s.excess) > limit:
		return fmt.Errorf("received %d bytes in %v without a whole message", s.received, now.Sub(s.since).Round(time.Millisecond))
	}
	return nil
}
