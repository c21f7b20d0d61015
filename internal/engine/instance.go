package engine

import (
	"sync/atomic"

	"github.com/mosel-serve/mosel/internal/runtime"
)

// instance is an instance of the runtime and a count of its users: the owner, which is
// the loader and then the deployment, and each batch that runs on it. The last user
// closes it. So a batch that was left behind keeps its instance open, also when the
// engine has stopped.
type instance struct {
	runtime.Instance
	users atomic.Int64
}

// newInstance returns an instance with one user, the owner.
func newInstance(loaded runtime.Instance) *instance {
	i := &instance{Instance: loaded}
	i.users.Store(1)
	return i
}

// OnCaller implements runtime.Near.
func (i *instance) OnCaller() bool { return runtime.OnCaller(i.Instance) }

// hold adds a user. There must be one already.
func (i *instance) hold() { i.users.Add(1) }

// Close removes a user. It closes the runtime's instance if that was the last.
func (i *instance) Close() error {
	if i.users.Add(-1) > 0 {
		return nil
	}
	return i.Instance.Close()
}
