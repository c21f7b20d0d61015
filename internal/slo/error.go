package slo

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error by what its reader can do about it. Package api maps
// kinds to HTTP and gRPC codes.
type Kind uint8

// The kinds.
const (
	KindInternal         Kind = iota // a defect or a failed runtime
	KindInvalid                      // malformed, wrong shape or type: do not retry
	KindNotFound                     // no such model, version or file
	KindInfeasible                   // the floor is impossible with what was sent
	KindOverloaded                   // shed: retry later
	KindDeadlineExceeded             // the deadline has passed
	KindTooLarge                     // a bound on size was exceeded
	KindCancelled                    // cancelled by the client
	KindUnavailable                  // not ready, or draining
	KindUnsupported                  // known, but not supported
	KindUnauthenticated              // a valid token is needed
	KindForbidden                    // not for this caller
	kindEnd
)

var kindNames = [...]string{"internal", "invalid", "not found", "infeasible", "overloaded",
	"deadline exceeded", "too large", "cancelled", "unavailable", "unsupported",
	"unauthenticated", "forbidden"}

// Kinds lists all kinds; tables over them are tested for completeness with it.
func Kinds() []Kind {
	kinds := make([]Kind, 0, kindEnd)
	for k := range kindEnd {
		kinds = append(kinds, k)
	}
	return kinds
}

// String names the kind in words.
func (k Kind) String() string {
	if k >= kindEnd {
		return "unknown"
	}
	return kindNames[k]
}

// Error says which operation failed, the kind of the failure, and why. The optional
// fields help a client to react: when to retry, and the highest accuracy that was
// possible.
type Error struct {
	Op         string // "infer digits", "load models/digits/mosel.yaml"
	Kind       Kind
	Err        error         // the cause, as a message for a person
	RetryAfter time.Duration // > 0: retry after this time
	Best       Accuracy      // > 0: the highest accuracy that was possible
	Job        string        // the job's id, for an explanation; "": there was no job
}

// E builds an Error. The format may contain %w.
func E(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Error prints "op: cause".
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, or KindInternal if
// there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}
