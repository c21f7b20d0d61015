package runtime

import (
	"context"
	"errors"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Ended is the error of a load or a run that its context has ended, with that
// context's error: of kind cancelled, or deadline exceeded.
func Ended(op string, err error) error {
	kind := slo.KindCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		kind = slo.KindDeadlineExceeded
	}
	return slo.E(op, kind, "%w", err)
}
