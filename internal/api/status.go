package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// statusClientClosed is nginx's status for a client that went away; nobody is
// left to read it but logs and metrics.
const statusClientClosed = 499

// statuses is the table from an error's kind to what the client sees. A retry
// makes sense only where it says so, and then the answer says when.
var statuses = map[slo.Kind]struct {
	status int
	retry  bool
}{
	slo.KindInternal:         {http.StatusInternalServerError, false},
	slo.KindInvalid:          {http.StatusBadRequest, false},
	slo.KindNotFound:         {http.StatusNotFound, false},
	slo.KindInfeasible:       {http.StatusUnprocessableEntity, false},
	slo.KindOverloaded:       {http.StatusTooManyRequests, true},
	slo.KindDeadlineExceeded: {http.StatusGatewayTimeout, false},
	slo.KindTooLarge:         {http.StatusRequestEntityTooLarge, false},
	slo.KindCancelled:        {statusClientClosed, false},
	slo.KindUnavailable:      {http.StatusServiceUnavailable, true},
	slo.KindUnsupported:      {http.StatusNotImplemented, false},
	slo.KindUnauthenticated:  {http.StatusUnauthorized, false},
	slo.KindForbidden:        {http.StatusForbidden, false},
}

// challenge is the header WWW-Authenticate of an answer that asks for a token.
const challenge = `Bearer realm="mosel"`

// retryDefault is when a client may retry where the error does not say.
const retryDefault = time.Second

// httpError is an error for which HTTP has a status of its own, besides that of
// its kind.
type httpError struct {
	status int
	error
}

func (e httpError) Unwrap() error { return e.error }

// fail answers a request with an error.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind := slo.KindOf(err)
	row := statuses[kind]
	if own, ok := errors.AsType[httpError](err); ok {
		row.status, row.retry = own.status, false
	}
	level := slog.LevelDebug
	if row.status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.log.Log(r.Context(), level, "request failed", "method", r.Method, "path", r.URL.Path, "status", row.status, "error", err)

	body := oip.ErrorBody{Error: err.Error()}
	facts, known := errors.AsType[*slo.Error](err)
	if known && kind == slo.KindInfeasible {
		best := facts.Best.Float()
		body.BestAccuracy = &best
	}
	if d, ok := w.(*download); ok && row.status != http.StatusRequestTimeout {
		d.refused()
	}
	if kind == slo.KindUnauthenticated {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if row.retry {
		after := retryDefault
		if known && facts.RetryAfter > 0 {
			after = facts.RetryAfter
		}
		body.RetryAfterMS = int64((after + time.Millisecond - 1) / time.Millisecond)
		w.Header().Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	if err := writeJSON(w, row.status, body); err != nil {
		h.log.Debug("answer not sent", "path", r.URL.Path, "error", err)
	}
}

// writeJSON sends an answer in JSON.
func writeJSON(w http.ResponseWriter, status int, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return slo.E("encode an answer", slo.KindInternal, "%w", err)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
	return nil
}
