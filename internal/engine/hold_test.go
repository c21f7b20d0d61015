package engine

import (
	"sync"
	"testing"
)

// TestHoldAfterRetirement: a request may find a model in the catalogue just before the
// model is retired. Holding it must then fail, with or without other users.
func TestHoldAfterRetirement(t *testing.T) {
	for _, users := range []int{0, 2} {
		d := &deployment{unused: make(chan struct{}), leave: func() {}}
		for range users {
			if !d.hold() {
				t.Fatal("it cannot be held before it is retired")
			}
		}
		d.retire()
		var late sync.WaitGroup
		for range 8 {
			late.Go(func() {
				if d.hold() {
					t.Error("it is held when it is retired")
				}
			})
		}
		for range users {
			d.release()
		}
		late.Wait()
		<-d.unused
	}
}
