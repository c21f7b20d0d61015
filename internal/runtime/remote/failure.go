package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// How a request that was shed is sent again.
const (
	attemptsMax = 3
	// pauseMin is the pause after the first attempt where the server names none. It
	// doubles, and half of it is drawn at random.
	pauseMin = 20 * time.Millisecond
	// pauseMax is the longest time to come back that is waited for; with a longer one
	// the batch fails as overloaded, and its clients are told to come back.
	pauseMax = 500 * time.Millisecond
)

// retry reports whether a request is sent again, and after which pause: only where
// the server has shed it, so that it certainly has not run.
func retry(err error, attempt int) (time.Duration, bool) {
	told, ok := errors.AsType[*client.Error](err)
	if !ok || !shed(told) || attempt >= attemptsMax || told.RetryAfter > pauseMax {
		return 0, false
	}
	if told.RetryAfter > 0 {
		return told.RetryAfter, true
	}
	pause := min(pauseMin<<(attempt-1), pauseMax)
	return pause/2 + rand.N(pause/2), true
}

// shed reports whether a server says that it has not begun to run a request.
func shed(e *client.Error) bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable && e.RetryAfter > 0
}

// failed is the error of a run for which the server has no answer. limited is ctx with
// the package's limit.
func (r *route) failed(ctx, limited context.Context, err error) error {
	told, answered := errors.AsType[*client.Error](err)
	switch {
	case ctx.Err() != nil:
		return ended("", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded) && ends(ctx, limited): // seen a moment before ctx
		return ended("", context.DeadlineExceeded)
	case answered && shed(told):
		e := r.told(slo.KindOverloaded, told)
		e.RetryAfter = told.RetryAfter
		return e
	case answered && told.Status == http.StatusGatewayTimeout && ends(ctx, limited):
		return slo.E("", slo.KindDeadlineExceeded, "%w: %w", context.DeadlineExceeded, r.told(slo.KindDeadlineExceeded, told))
	case answered:
		return r.refused(ctx, told)
	case errors.Is(err, oip.ErrNotJSON):
		return slo.E("", slo.KindInvalid, "%w", r.detailed(err, "the other server takes JSON only, which has no NaN, no infinities and no 16-bit numbers"))
	case errors.Is(err, client.ErrAnswer):
		return slo.E("", slo.KindInternal, "%w", r.detailed(err, "the other server's answer cannot be used"))
	}
	what := "the connection to the other server broke"
	if limited.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		what = fmt.Sprintf("the other server has not answered within %v (timeout)", r.where.Timeout)
	}
	if r.server.lost(ctx) {
		return slo.E("", slo.KindUnavailable, "%w: %w", runtime.ErrLost, r.detailed(err, what))
	}
	return slo.E("", slo.KindUnavailable, "%w", r.detailed(err, what))
}

// ends reports whether the run's own context ends before the package's limit.
func ends(ctx, limited context.Context) bool {
	own, ok := ctx.Deadline()
	limit, _ := limited.Deadline()
	return ok && !own.After(limit)
}

// refused is the error of a request that was answered with one.
func (r *route) refused(ctx context.Context, told *client.Error) error {
	switch told.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return r.told(slo.KindInvalid, told)
	case http.StatusRequestEntityTooLarge:
		return r.told(slo.KindTooLarge, told)
	case http.StatusNotFound: // its model has been taken away
		return slo.E("", slo.KindUnavailable, "%w: %w", runtime.ErrLost, r.told(slo.KindUnavailable, told))
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		if r.server.lost(ctx) {
			return slo.E("", slo.KindUnavailable, "%w: %w", runtime.ErrLost, r.told(slo.KindUnavailable, told))
		}
		return r.told(slo.KindUnavailable, told)
	case http.StatusGatewayTimeout, http.StatusRequestTimeout, oip.StatusClientClosed, http.StatusUnauthorized, http.StatusForbidden:
		return r.told(slo.KindUnavailable, told)
	}
	return r.told(slo.KindInternal, told)
}

// told is the other server's error as ours. Who asks us is told its words, not where
// it is.
func (r *route) told(kind slo.Kind, e *client.Error) *slo.Error {
	return slo.E("", kind, "%w", r.detailed(e, "the other server answered "+oneLine(e.Error())))
}

// ended is the error of what a context ended.
func ended(op string, err error) error {
	kind := slo.KindCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		kind = slo.KindDeadlineExceeded
	}
	return slo.E(op, kind, "%w", err)
}

// failure is an error that says to the log where it arose.
type failure struct{ text, detail string }

// Error implements error.
func (f *failure) Error() string { return f.text }

// Detail implements runtime.Detailed.
func (f *failure) Detail() string { return f.detail }

func (r *route) detailed(err error, text string) error {
	return &failure{text, r.where.Server + ", model " + named(r.where) + ": " + oneLine(err.Error())}
}

// wordsMax is how much of another server's words is repeated.
const wordsMax = 300

// oneLine is another server's words as they can be repeated: one line, not too long.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }), " ")
	if len(text) > wordsMax {
		text = strings.ToValidUTF8(text[:wordsMax], "") + "..."
	}
	return text
}
