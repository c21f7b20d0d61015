package runtime

import (
	"context"
	"errors"

	"github.com/mosel-serve/mosel/internal/slo"
)

// Ended returns the error of a load or a run that was ended by its context. It wraps
// that context's error and has kind cancelled or deadline exceeded.
func Ended(op string, err error) error {
	kind := slo.KindCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		kind = slo.KindDeadlineExceeded
	}
	return slo.E(op, kind, "%w", err)
}
