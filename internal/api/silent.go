package api

import (
	"fmt"
	"time"
)

// silence is what a gRPC connection has received since the last message that came
// over it whole. A connection between two calls, or with a stream on which nothing
// comes, is alive: it pings, answers pings, and makes room for answers. That is
// little. More can only be a message that is on its way, and such a one must be there
// in its time; or frames with nothing in them, of which a client could send millions,
// and each takes the server's time. Frames cannot be told apart here, below TLS, but
// bytes can be counted.
type silence struct {
	since    time.Time // the last message, or the beginning
	received int64     // since then
	excess   time.Time // when more had come than a live connection sends; zero: it has not
	late     int64     // bytes that may still come of a message that was given up
}

const (
	// A live connection may send silentBytes at once and silentRate in a second: a
	// ping takes 17 bytes, 40 over TLS, and comes once a second at most.
	silentBytes = 16 << 10
	silentRate  = 128
	// It gives room for answers with two frames of 13 bytes, 70 over TLS, for some
	// 16 KiB of them: a part in answerPart is more.
	answerPart = 64
	// headersBytes may come before a call is seen to begin.
	headersBytes = lineFree
	// flightBytes of a message may be under way when its call ends before it has come,
	// because it is too large, or takes too long: the largest window that grpc-go gives
	// a connection.
	flightBytes = 16 << 20
)

// end notes that a message has come, or was given up.
func (s *silence) end(now time.Time, whole bool) {
	*s = silence{since: now}
	if !whole {
		s.late = flightBytes
	}
}

// hear takes n more bytes, after which the connection has written so many in all
// since the last message, while messages are awaited or not. The error is for a
// connection that must end.
func (s *silence) hear(n int, written int64, awaited bool, limit time.Duration, now time.Time) error {
	s.received += int64(n)
	over := s.received - silentBytes - int64(now.Sub(s.since).Seconds()*silentRate) - written/answerPart
	switch {
	case over <= 0:
		return nil
	case !awaited && over > headersBytes+s.late:
		return fmt.Errorf("%d bytes came in %v without a call", s.received, now.Sub(s.since).Round(time.Millisecond))
	case s.excess.IsZero():
		s.excess = now
	case now.Sub(s.excess) > limit:
		return fmt.Errorf("%d bytes came in %v without a whole message", s.received, now.Sub(s.since).Round(time.Millisecond))
	}
	return nil
}
