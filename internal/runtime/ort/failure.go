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

// failure is an error from ONNX Runtime.
type failure struct {
	code    int
	message string // its full text
}

// The place in ONNX Runtime's source where an error arose: a path with a line, then the
// signature of a function.
var (
	sourcePlace     = regexp.MustCompile(`[^\s'"]*/[^\s'"]+\.(?:cc|cpp|cxx|cu|h|hpp|inl?):\d+:?\s*`)
	sourceSignature = regexp.MustCompile(`^(?:[\w:<>,&*~]+ )*[\w:<>,&*~]+\([^()]*\)(?: const)?(?: \[with [^\]]*\])? `)
)

// Error returns the message without places in ONNX Runtime's source.
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

// Detail returns the whole message, for the log.
func (f *failure) Detail() string { return f.message }

// memory reports whether the failure is a lack of memory.
func (f *failure) memory() bool {
	return strings.Contains(f.message, "Failed to allocate memory") || strings.Contains(f.message, "bad_alloc") ||
		strings.Contains(f.message, "is smaller than requested bytes") || strings.Contains(f.message, "bad allocation")
}

// failed returns the error of a run that failed in ONNX Runtime, or whose outputs are
// unusable.
//
// Its kind says who is at fault. ONNX Runtime reports an invalid argument for tensors
// of the wrong shape and for indices beyond a table. For what its operators find
// themselves, such as lengths that do not match, it reports a failure or an exception.
// But if the graph has run successfully on this machine before, the contents of this
// batch are the cause. In both cases the batch is at fault: invalid. In a batch of
// several clients one of them is, which the engine finds by running the parts
// separately. A lack of memory is too large. In all other cases the graph or the
// library is at fault: internal.
func (in *instance) failed(variant int, s *session, err error) error {
	kind := slo.KindOf(err)
	if f, ok := errors.AsType[*failure](err); ok {
		switch {
		case f.memory():
			kind = slo.KindTooLarge
		case f.code == codeInvalidArgument:
			kind = slo.KindInvalid
		case f.code == codeFail || f.code == codeRuntimeException:
			if s != nil && s.proven.Load() {
				kind = slo.KindInvalid
			}
		}
	}
	return slo.E("run "+variantName(in.model, variant), kind, "%w", err)
}

// panicked is a panic in the binding.
type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("the runtime panicked: %v", p.value) }

// Detail returns the stack of the panic.
func (p *panicked) Detail() string { return p.stack }

var _, _ runtime.Detailed = (*failure)(nil), (*panicked)(nil)
