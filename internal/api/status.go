package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// statuses is the table from an error's kind to the status of the answer. Answers of the
// kinds with retry say when a retry may succeed.
var statuses = map[slo.Kind]struct {
	status int
	code   codes.Code
	retry  bool
}{
	slo.KindInternal:         {http.StatusInternalServerError, codes.Internal, false},
	slo.KindInvalid:          {http.StatusBadRequest, codes.InvalidArgument, false},
	slo.KindNotFound:         {http.StatusNotFound, codes.NotFound, false},
	slo.KindInfeasible:       {http.StatusUnprocessableEntity, codes.FailedPrecondition, false},
	slo.KindOverloaded:       {http.StatusTooManyRequests, codes.ResourceExhausted, true},
	slo.KindDeadlineExceeded: {http.StatusGatewayTimeout, codes.DeadlineExceeded, false},
	slo.KindTooLarge:         {http.StatusRequestEntityTooLarge, codes.ResourceExhausted, false},
	slo.KindCancelled:        {oip.StatusClientClosed, codes.Canceled, false}, // only logs and metrics show it
	slo.KindUnavailable:      {http.StatusServiceUnavailable, codes.Unavailable, true},
	slo.KindUnsupported:      {http.StatusNotImplemented, codes.Unimplemented, false},
	slo.KindUnauthenticated:  {http.StatusUnauthorized, codes.Unauthenticated, false},
	slo.KindForbidden:        {http.StatusForbidden, codes.PermissionDenied, false},
}

// challenge is the header WWW-Authenticate of an answer that asks for a token.
const challenge = `Bearer realm="mosel"`

// retryDefault is when a client may retry if the error does not say.
const retryDefault = time.Second

// httpError is an error with an HTTP status that replaces the status of its kind.
type httpError struct {
	status int
	error
}

func (e httpError) Unwrap() error { return e.error }

// failure is an error as clients see it, over both transports.
type failure struct {
	status int
	code   codes.Code
	body   oip.ErrorBody
	retry  time.Duration // > 0: a retry may succeed after this time
}

// failureOf returns the failure of an error, by the table.
func failureOf(err error) failure {
	kind := slo.KindOf(err)
	row := statuses[kind]
	f := failure{status: row.status, code: row.code, body: oip.ErrorBody{Error: err.Error()}}
	if row.status == http.StatusInternalServerError {
		f.body.Error = publicText(err)
	}
	if own, ok := errors.AsType[httpError](err); ok {
		f.status, row.retry = own.status, false
	}
	facts, known := errors.AsType[*slo.Error](err)
	if !known {
		facts = &slo.Error{}
	}
	if kind == slo.KindInfeasible {
		best := facts.Best.Float()
		f.body.BestAccuracy = &best
	}
	f.body.Job = facts.Job
	if row.retry {
		if f.retry = facts.RetryAfter; f.retry <= 0 {
			f.retry = retryDefault
		}
		f.body.RetryAfterMS = int64((f.retry + time.Millisecond - 1) / time.Millisecond)
	}
	return f
}

// level returns the log level of a failure: internal errors always appear, others only
// with --verbose.
func (f failure) level() slog.Level {
	if f.status == http.StatusInternalServerError {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// logFailure logs that a request failed, with its job if there is one.
func (a *API) logFailure(ctx context.Context, f failure, err error, facts ...any) {
	if f.body.Job != "" {
		facts = append(facts, "job", f.body.Job)
	}
	a.log.Log(ctx, f.level(), "request failed", append(facts, "error", err)...)
}

// fail answers a request with an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	a.logFailure(r.Context(), f, err, "method", r.Method, "path", r.URL.Path, "status", f.status)
	if d, ok := w.(*answerWriter); ok && f.status != http.StatusRequestTimeout {
		d.refused()
	}
	header := w.Header()
	if f.code == codes.Unauthenticated {
		header.Set("WWW-Authenticate", challenge)
	}
	if f.retry > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((f.retry+time.Second-1)/time.Second), 10))
	}
	if f.body.Job != "" {
		header.Set(oip.HeaderJob, f.body.Job)
	}
	if err := writeJSON(w, f.status, f.body); err != nil {
		a.log.Debug("answer not sent", "path", r.URL.Path, "error", err)
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
