package runtime_test

import (
	"testing"

	"github.com/mosel-serve/mosel/internal/runtime"
)

func TestDefaultsLeaveACoreWhereThereAreMany(t *testing.T) {
	for cores, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 3, 4: 3, 8: 7, 128: 127} {
		instances, threads := runtime.Defaults(cores)
		if instances != want || threads != 1 {
			t.Errorf("Defaults(%d) = %d instances of %d threads, want %d of 1", cores, instances, threads, want)
		}
	}
}
