package obs_test

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/mosel-serve/mosel/internal/sched"
)

// TestJobIDs checks that ids are opaque, differ within a server and between two
// servers, and are accepted only by the server that made them.
func TestJobIDs(t *testing.T) {
	servers := [2]*obs.JobIDs{obs.NewJobIDs(), obs.NewJobIDs()}
	form := regexp.MustCompile(`^j-[a-z2-7]{26}$`)
	seen := map[string]bool{}
	for _, job := range []sched.JobID{0, 1, 2, 3, 10, 1 << 40, math.MaxUint64} {
		for s, ids := range servers {
			id := ids.Of(job)
			if !form.MatchString(id) || seen[id] {
				t.Errorf("job %d has the id %q; given before: %t", job, id, seen[id])
			}
			seen[id] = true
			if got, ok := ids.Job(id); !ok || got != job {
				t.Errorf("%s is job %d, %t, want %d", id, got, ok, job)
			}
			if got, ok := servers[1-s].Job(id); ok {
				t.Errorf("another server takes %s for its job %d", id, got)
			}
			last := byte('a')
			if id[len(id)-1] == last {
				last = 'b'
			}
			for _, other := range []string{"", "j-", "1", id[1:], id + "a", id[:len(id)-1], strings.ToUpper(id), id[:len(id)-1] + string(last), " " + id, id + "\n"} {
				if got, ok := ids.Job(other); ok {
					t.Errorf("%q is taken for job %d", other, got)
				}
			}
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { servers[0].Of(7) }); allocs > 2 {
		t.Errorf("%v allocations for an id, want the string and a block at most", allocs)
	}
}

func BenchmarkJobID(b *testing.B) {
	ids := obs.NewJobIDs()
	b.ReportAllocs()
	for i := range b.N {
		ids.Of(sched.JobID(i))
	}
}
