package runtime_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/runtime"
)

type near struct {
	runtime.Instance
	near bool
}

func (n near) OnCaller() bool { return n.near }

// TestTimeOfLeavesWaitingOut has more threads compute than there are cores. Then a thread
// waits, and the time of a run that is near is close to its own.
func TestTimeOfLeavesWaitingOut(t *testing.T) {
	if runtime.Waited() == 0 {
		t.Skip("the system does not say how long a thread waits, or it has not waited yet")
	}
	var stop atomic.Bool
	defer stop.Store(true)
	for range 4 * runtime.Cores() {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	sum, whole := time.Duration(0), time.Duration(0)
	for range 20 {
		all, took, err := runtime.TimeOf(near{near: true}, func() error {
			for until := time.Now().Add(20 * time.Millisecond); time.Now().Before(until); {
			}
			return nil
		})
		if err != nil || took <= 0 {
			t.Fatal(took, err)
		}
		sum, whole = sum+took, whole+all
	}
	if sum > whole {
		t.Errorf("%v of %v", sum, whole)
	}
	if runtime.OnCaller(near{}) {
		t.Error("an instance with threads of its own is near")
	}
}
