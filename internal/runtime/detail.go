package runtime

import "errors"

// Detailed is an error that has more to say to an operator than to a client, such
// as where in the runtime's source it arose.
type Detailed interface {
	error
	Detail() string
}

// Detail is what an error has to say to an operator only, "" if nothing.
func Detail(err error) string {
	if d, ok := errors.AsType[Detailed](err); ok {
		return d.Detail()
	}
	return ""
}
