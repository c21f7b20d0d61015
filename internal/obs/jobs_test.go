package obs_test

import (
	"testing"

	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/prometheus/client_golang/prometheus"
)

func TestJobs(t *testing.T) {
	registry := prometheus.NewRegistry()
	list := []obs.DurableJob{
		{Model: "m", State: "running", Items: 100, Done: 30},
		{Model: "m", State: "queued", Items: 50},
		{Model: "m", State: "completed", Over: true, Items: 70, Done: 70},
		{Model: "n", State: "running", Items: 5, Done: 5},
	}
	if err := obs.Jobs(registry, func() ([]obs.DurableJob, bool) { return list, true }); err != nil {
		t.Fatal(err)
	}
	gathers(t, registry, []string{
		"mosel_durable_items model=m,result=pending 120",
		"mosel_durable_items model=m,result=stored 30",
		"mosel_durable_items model=n,result=pending 0",
		"mosel_durable_items model=n,result=stored 5",
		"mosel_durable_jobs model=m,state=completed 1",
		"mosel_durable_jobs model=m,state=queued 1",
		"mosel_durable_jobs model=m,state=running 1",
		"mosel_durable_jobs model=n,state=running 1",
		"mosel_durable_jobs_ready  1",
	})
}
