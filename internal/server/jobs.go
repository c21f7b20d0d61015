package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mosel-serve/mosel/internal/jobs"
	"github.com/mosel-serve/mosel/internal/jobs/jetstream"
	"github.com/mosel-serve/mosel/internal/obs"
	"github.com/prometheus/client_golang/prometheus"
)

// Jobs says where durable jobs are kept. Without Dir and URL there are none.
type Jobs struct {
	Dir           string // of a NATS server in this process
	URL           string // of a NATS cluster, in place of Dir
	Stream        string // its name
	Replicas      int    // copies in the cluster
	Keep          time.Duration
	BytesMax      int64
	ClientJobsMax int
}

// DefaultJobs keeps none; once there is a place, it has the bounds of package jobs.
func DefaultJobs() Jobs {
	c := jobs.DefaultConfig()
	return Jobs{Stream: "MOSEL_JOBS", Replicas: 1, Keep: c.Keep, BytesMax: c.BytesMax, ClientJobsMax: c.ClientJobsMax}
}

func (j Jobs) on() bool { return j.Dir != "" || j.URL != "" }

func (j Jobs) validate() error {
	switch {
	case !j.on():
		return nil
	case j.Dir != "" && j.URL != "":
		return fmt.Errorf("durable jobs are kept in the directory %s and in a NATS cluster: choose one", j.Dir)
	case j.Keep <= 0 || j.BytesMax < 1 || j.ClientJobsMax < 1 || j.Replicas < 1 || j.Stream == "":
		return fmt.Errorf("durable jobs are kept %v, in %d bytes, %d for a client, in %d copies of the stream %q: none of these can be 0 or empty",
			j.Keep, j.BytesMax, j.ClientJobsMax, j.Replicas, j.Stream)
	}
	return nil
}

// streamRoom is the part of the stream's size that new jobs may fill: the rest is for
// results of those that were accepted.
const streamRoom = 0.75

// manager makes the manager of jobs, and registers its metrics; nil: there are none.
func (j Jobs) manager(log *slog.Logger, registry prometheus.Registerer) (*jobs.Manager, error) {
	if !j.on() {
		return nil, nil
	}
	where := jetstream.Config{Dir: j.Dir, URL: j.URL, Stream: j.Stream, Replicas: j.Replicas, BytesMax: j.BytesMax}
	m := jobs.New(jobs.Config{Keep: j.Keep, BytesMax: int64(float64(j.BytesMax) * streamRoom), ClientJobsMax: j.ClientJobsMax, Log: log,
		Open: func(ctx context.Context) (jobs.Store, error) { return jetstream.Open(ctx, where) }})
	return m, obs.Jobs(registry, func() (list []obs.DurableJob, ready bool) {
		stored, err := m.Jobs("", "")
		for _, j := range stored {
			list = append(list, obs.DurableJob{Model: j.Model, State: j.State, Over: j.Over(), Items: j.Items, Done: j.Done})
		}
		return list, err == nil && m.Ready() == nil
	})
}
