package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mosel-serve/mosel/internal/access"
	"github.com/mosel-serve/mosel/internal/slo"
)

// GET /v1/status/events is a stream of server-sent events: samples of the past, then the
// status every second and each new sample. The id of a sample is the end of its interval
// in milliseconds, so a client that comes back gets what it has missed, from this server
// or from the one that replaced it.

const (
	// statusEvery is as fast as a person reads.
	statusEvery = time.Second
	// streamsMax bounds the streams of events. Each holds a connection and writes some
	// kilobytes per second.
	streamsMax = 32
)

// events are the streams of events.
type events struct {
	open   atomic.Int32
	ended  chan struct{} // closed by Drain
	ending sync.Once

	mu     sync.Mutex
	made   time.Time // when status was made; all streams share it
	status []byte
}

func newEvents() *events { return &events{ended: make(chan struct{})} }

// end ends all streams.
func (e *events) end() { e.ending.Do(func() { close(e.ended) }) }

// statusEvents sends events until the client leaves, the server drains or the caller loses
// the right to see them.
func (a *API) statusEvents(w http.ResponseWriter, r *http.Request, args arguments) error {
	e := a.events
	if e.open.Add(1) > streamsMax {
		e.open.Add(-1)
		return slo.E("", slo.KindOverloaded, "%d streams of events are open, and no more are allowed: GET /v1/status has the current state", streamsMax)
	}
	defer e.open.Add(-1)
	after := lastEvent(r, time.Now())
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request has no body; fails without a connection, as in tests
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies pass events on at once
	w.WriteHeader(http.StatusOK)
	ticks := time.NewTicker(statusEvery)
	defer ticks.Stop()
	for {
		var out bytes.Buffer
		for _, s := range args.engine.Timeline(after) {
			after = s.End
			writeEvent(&out, "sample", strconv.FormatInt(s.End.UnixMilli(), 10), marshal(s))
		}
		writeEvent(&out, "status", "", a.sharedStatus(args))
		if _, err := w.Write(out.Bytes()); err != nil {
			return nil
		}
		if control.Flush() != nil {
			return nil
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-e.ended:
			return nil
		case <-ticks.C:
		}
		if _, err := a.guard.Check(access.Admin, a.peer(r)); err != nil {
			return nil // its next request says why
		}
	}
}

// lastEvent returns the time of the last sample that the client has. An id that this
// server cannot have sent counts as none: the clock may have been set back.
func lastEvent(r *http.Request, now time.Time) time.Time {
	ms, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil || time.UnixMilli(ms).After(now) {
		return time.Time{}
	}
	return time.UnixMilli(ms + 1).Add(-time.Nanosecond) // the end has nanoseconds, its id does not
}

// writeEvent appends an event. The data is JSON, so it has no line breaks.
func writeEvent(out *bytes.Buffer, name, id string, data []byte) {
	out.WriteString("event: " + name + "\n")
	if id != "" {
		out.WriteString("id: " + id + "\n")
	}
	out.WriteString("data: ")
	out.Write(data)
	out.WriteString("\n\n")
}

// sharedStatus returns the status in JSON, at most half an interval old.
func (a *API) sharedStatus(args arguments) []byte {
	e := a.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); e.status == nil || now.Sub(e.made) >= statusEvery/2 {
		s, err := a.currentStatus(args)
		if err != nil {
			return marshal(failureOf(err).body)
		}
		e.status, e.made = marshal(s), now
	}
	return e.status
}

// marshal encodes plain data, for which that cannot fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
