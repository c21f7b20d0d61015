package api

import (
	"fmt"
	"time"
)

// idleTraffic counts the bytes that a gRPC connection has received since its last
// complete message. A connection between two calls, or with a stream that has no
// messages, still sends control frames: pings, answers to pings, and flow control for
// the answers it reads. Those are few bytes. More bytes are either part of a message,
// which must be complete within a time limit, or empty frames. A client could send
// millions of empty frames, and each costs server time. Below TLS, frames cannot be
// distinguished, so bytes are counted.
type idleTraffic struct {
	since    time.Time // the last message, or the start
	received int64     // bytes since then
	excess   time.Time // when received exceeded the allowance for control frames; zero: it has not
	late     int64     // bytes that may still be received of an abandoned message
}

const (
	// Control frames may take idleBytes at once and idleRate per second: a ping takes
	// 17 bytes, or 40 over TLS, and comes at most once a second.
	idleBytes = 16 << 10
	idleRate  = 128
	// A client confirms about 16 KiB of answers with two frames of 13 bytes, or 70 over
	// TLS. One byte in answerPart is more than that.
	answerPart = 64
	// headersBytes may be received before the server sees that a call has begun.
	headersBytes = connBytesFree
	// flightBytes of a message may be on the network when its call ends early (because
	// the message is too large or takes too long). It is the largest window that grpc-go
	// gives a connection.
	flightBytes = 16 << 20
)

// messageEnded records that a message was received completely, or was abandoned.
func (s *idleTraffic) messageEnded(now time.Time, whole bool) {
	*s = idleTraffic{since: now}
	if !whole {
		s.late = flightBytes
	}
}

// receive counts n more bytes. written is what the server has written since the last
// message; awaited says whether a message is being received, which may take up to
// limit. After an error the connection must be closed.
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
