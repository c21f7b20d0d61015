package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/oip"
)

// Error is an answer of the server that is not a success, over either transport. A call
// that could not be sent or read has another error, and a call whose context has ended
// has the context's error. Use errors.Is with ErrOverloaded and the others below.
type Error struct {
	Status       int           // HTTP status, also over gRPC; docs/protocol.md has the table
	Message      string        // the server's text
	RetryAfter   time.Duration // > 0: a retry may succeed after this time
	BestAccuracy float64       // > 0: the highest possible floor
	Job          string        // the server's id of the request, by which it can be explained; "": it has none
}

// The kinds of Error, for errors.Is. Other statuses have no kind.
var (
	ErrInvalid         = errors.New("the request is malformed")
	ErrUnauthenticated = errors.New("a token is needed, or the token is unknown")
	ErrForbidden       = errors.New("the token does not allow it")
	ErrNotFound        = errors.New("there is no such model, version or resource")
	ErrTooLarge        = errors.New("a bound of the server was exceeded")
	ErrInfeasible      = errors.New("the floor is impossible with the modalities sent")
	ErrOverloaded      = errors.New("shed: the server is overloaded")
	ErrCanceled        = errors.New("the server was told to give up")
	ErrFailed          = errors.New("the server failed")
	ErrUnsupported     = errors.New("the server does not offer this")
	ErrUnavailable     = errors.New("the server is not ready")
	ErrDeadline        = errors.New("the deadline passed")
)

// ErrAnswer is in the chain of an error about an answer that cannot be used: it is not
// what the protocol says, or larger than Options.ResponseBytesMax.
var ErrAnswer = errors.New("the answer cannot be used")

// ErrClosed is the error of a call after Close.
var ErrClosed = errors.New("the client is closed")

var kinds = map[int]error{
	http.StatusBadRequest:            ErrInvalid,
	http.StatusUnauthorized:          ErrUnauthenticated,
	http.StatusForbidden:             ErrForbidden,
	http.StatusNotFound:              ErrNotFound,
	http.StatusRequestEntityTooLarge: ErrTooLarge,
	http.StatusUnprocessableEntity:   ErrInfeasible,
	http.StatusTooManyRequests:       ErrOverloaded,
	oip.StatusClientClosed:           ErrCanceled,
	http.StatusInternalServerError:   ErrFailed,
	http.StatusNotImplemented:        ErrUnsupported,
	http.StatusServiceUnavailable:    ErrUnavailable,
	http.StatusGatewayTimeout:        ErrDeadline,
}

// Error prints the status and the server's text.
func (e *Error) Error() string {
	return fmt.Sprintf("%d %s: %s", e.Status, statusText(e.Status), e.Message)
}

// Is reports whether target is the kind of e.
func (e *Error) Is(target error) bool {
	kind, ok := kinds[e.Status]
	return ok && kind == target
}

// Retryable reports whether the same request may succeed later: it was shed, or
// the server was not ready.
func (e *Error) Retryable() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

func statusText(status int) string {
	if status == oip.StatusClientClosed {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// newError makes an Error of an answer over HTTP. Its body is not JSON if something
// between client and server, such as a proxy, has answered.
func newError(answer *http.Response, body []byte) *Error {
	e := &Error{Status: answer.StatusCode, Job: answer.Header.Get(oip.HeaderJob)}
	if seconds, err := strconv.ParseInt(answer.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	var words oip.ErrorBody
	if err := json.Unmarshal(body, &words); err != nil || words.Error == "" {
		e.Message = strings.TrimSpace(string(body))
		return e
	}
	e.Message = words.Error
	e.retryAfter(oip.Int(words.RetryAfterMS))
	if words.BestAccuracy != nil {
		e.BestAccuracy = *words.BestAccuracy
	}
	if words.Job != "" {
		e.Job = words.Job
	}
	return e
}

// SetFact sets a field of an error from the protocol: "status", "retry_after_ms",
// "best_accuracy" or "job". It is for implementations of Wire. Other names and malformed
// values are ignored, so that the server's error is never replaced by another.
func (e *Error) SetFact(name string, v oip.Value) {
	switch name {
	case "status":
		if status, err := v.Int64(); err == nil && status >= http.StatusBadRequest && status < 600 {
			e.Status = int(status)
		}
	case "retry_after_ms":
		e.retryAfter(v)
	case "best_accuracy":
		e.bestAccuracy(v)
	case "job":
		e.Job = v.Text()
	}
}

func (e *Error) retryAfter(v oip.Value) {
	if ms, err := v.Int64(); err == nil && ms > 0 && ms <= math.MaxInt64/int64(time.Millisecond) {
		e.RetryAfter = time.Duration(ms) * time.Millisecond
	}
}

func (e *Error) bestAccuracy(v oip.Value) {
	if best, err := v.Float64(); err == nil {
		e.BestAccuracy = best
	}
}
