package ort

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/slo"
)

// Codes of ONNX Runtime's errors, OrtErrorCode.
const (
	codeFail             = 1
	codeInvalidArgument  = 2
	codeRuntimeException = 6
)

// failure is an error of ONNX Runtime's.
type failure struct {
	code    int
	message string // all that it said
}

// Where in ONNX Runtime's source an error arose: a path with a line, then the
// signature of a function.
var (
	sourcePlace     = regexp.MustCompile(`[^\s'"]*/[^\s'"]+\.(?:cc|cpp|cxx|cu|h|hpp|inl?):\d+:?\s*`)
	sourceSignature = regexp.MustCompile(`^(?:[\w:<>,&*~]+ )*[\w:<>,&*~]+\([^()]*\)(?: const)?(?: \[with [^\]]*\])? `)
)

// Error is the message without places in ONNX Runtime's source.
func (f *failure) Error() string {
	var text strings.Builder
	rest := f.message
	for {
		at := sourcePlace.FindStringIndex(rest)
		if at == nil {
			break
		}
		text.WriteString(rest[:at[0]])
		rest = rest[at[1]:]
		rest = rest[len(sourceSignature.FindString(rest)):]
	}
	text.WriteString(rest)
	return strings.TrimSpace(strings.ReplaceAll(text.String(), "\n", " "))
}

// Detail is the whole message, for the log.
func (f *failure) Detail() string { return f.message }

// memory reports whether the failure is one of too little memory.
func (f *failure) memory() bool {
	return strings.Contains(f.message, "Failed to allocate memory") || strings.Contains(f.message, "bad_alloc") ||
		strings.Contains(f.message, "is smaller than requested bytes") || strings.Contains(f.message, "bad allocation")
}

// failed is the error of a run that ONNX Runtime could not do, or whose outputs
// nobody can use.
//
// Who is to blame follows from what changed. ONNX Runtime says that an argument is
// invalid of tensors of the wrong shape and of indices beyond a table. What its
// operators find by themselves, such as lengths that do not fit each other, it calls
// a failure or an exception; but a graph that has run well on this machine and fails
// now, failed for what is in this batch. Both are the batch's fault: invalid. In a
// batch of several clients it is one of theirs, which the engine finds out by
// running them apart. Too little memory is too large. All else is the graph's fault
// or the library's: internal.
func (in *instance) failed(variant int, s *session, err error) error {
	kind := slo.KindOf(err)
	if f, ok := errors.AsType[*failure](err); ok {
		switch {
		case f.memory():
			kind = slo.KindTooLarge
		case f.code == codeInvalidArgument:
			kind = slo.KindInvalid
		case f.code == codeFail || f.code == codeRuntimeException:
			if s.proven.Load() {
				kind = slo.KindInvalid
			}
		}
	}
	return slo.E("run "+variantName(in.model, variant), kind, "%w", err)
}

// panicked is a panic inside the binding.
type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("the runtime panicked: %v", p.value) }

// Detail is where it panicked.
func (p *panicked) Detail() string { return p.stack }

var _, _ runtime.Detailed = (*failure)(nil), (*panicked)(nil)
