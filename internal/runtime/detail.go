package runtime

import "errors"

// Detailed is an error with details for the operator that the client must not see, such
// as the place in the runtime's source where it arose.
type Detailed interface {
	error
	Detail() string
}

// Detail returns an error's details for the operator, "" if there are none.
func Detail(err error) string {
	if d, ok := errors.AsType[Detailed](err); ok {
		return d.Detail()
	}
	return ""
}
