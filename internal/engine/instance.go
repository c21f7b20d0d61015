package engine

import (
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/runtime"
)

// instance is an instance of the runtime that knows how many use it: who has loaded
// it, until it is out of service, and each batch that runs on it. The last user closes
// it, so nothing ever runs on a closed instance, also where a batch was left behind or
// the engine has stopped.
type instance struct {
	runtime.Instance
	users atomic.Int64
}

// newInstance has one user, the caller.
func newInstance(loaded runtime.Instance) *instance {
	i := &instance{Instance: loaded}
	i.users.Store(1)
	return i
}

// hold adds a user. The caller knows that there is one already.
func (i *instance) hold() { i.users.Add(1) }

// Close removes a user. It closes the runtime's instance if that was the last.
func (i *instance) Close() error {
	if i.users.Add(-1) > 0 {
		return nil
	}
	return i.Instance.Close()
}
