package client

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// Error is an answer of the server that is not a success. What could not be
// sent or read is another error, and a context that ended is the context's.
type Error struct {
	Status       int           // HTTP status; docs/protocol.md has the table
	Message      string        // the server's words
	RetryAfter   time.Duration // > 0: worth a retry after this long
	BestAccuracy float64       // > 0: the highest floor that could have been met
}

// Error prints the status and the server's words.
func (e *Error) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Status, statusText(e.Status), e.Message)
}

// Retryable reports whether the same request may succeed later: it was shed, or
// the server was not ready.
func (e *Error) Retryable() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// statusClientClosed is what the server answers where the client went away; it
// is not in the registry of HTTP statuses.
const statusClientClosed = 499

func statusText(status int) string {
	if status == statusClientClosed {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// newError makes an Error of an answer. Something between client and server may
// have answered in other words than JSON.
func newError(answer *http.Response, body []byte) *Error {
	e := &Error{Status: answer.StatusCode}
	if seconds, err := strconv.ParseInt(answer.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	var words oip.ErrorBody
	if err := json.Unmarshal(body, &words); err != nil || words.Error == "" {
		e.Message = strings.TrimSpace(string(body))
		return e
	}
	e.Message = words.Error
	if ms := words.RetryAfterMS; ms > 0 && ms < math.MaxInt64/int64(time.Millisecond) {
		e.RetryAfter = time.Duration(ms) * time.Millisecond
	}
	if words.BestAccuracy != nil {
		e.BestAccuracy = *words.BestAccuracy
	}
	return e
}
