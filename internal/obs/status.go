package obs

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
	"github.com/mosel-serve/mosel/status"
)

// Status returns the state of the server. The caller adds what it alone knows: the
// server's name, version and readiness, models that are loading or failed to load, and
// Queue.WaitingMS. It takes about ten microseconds per model.
func (o *Observer) Status(now slo.Instant) status.Status {
	o.now = max(o.now, now)
	o.rotate(o.now)
	o.sample(o.now)
	s := status.Status{
		Server: status.Server{Policy: o.cfg.Policy.String(), Draining: o.draining, Now: o.wall(o.now),
			UptimeS: seconds(time.Duration(o.now)), RecentS: seconds(o.now.Sub(o.since()))},
		Queue:  status.Queue{ItemsMax: o.cfg.QueueItemsMax, JobsMax: o.cfg.QueueJobsMax, BytesMax: o.cfg.QueueBytesMax, ClientsTotal: len(o.clients)},
		Models: []status.Model{}, Instances: []status.Instance{}, Clients: o.largest(), Decisions: []status.Decision{},
	}
	for _, number := range slices.Sorted(maps.Keys(o.models)) {
		m := o.models[number]
		q := o.tracker.Queue(number)
		s.Queue.Items += q.Waiting
		s.Queue.Running += q.Running
		s.Queue.Jobs += q.Jobs
		s.Queue.Bytes += q.Bytes
		s.Models = append(s.Models, m.status(q))
	}
	for _, id := range slices.Sorted(maps.Keys(o.instances)) {
		i := o.instances[id]
		i.credit(o.now, o.current)
		told := status.Instance{ID: int(id), Up: i.up, Slots: i.slots, Losses: i.losses, Running: []status.Running{},
			BusyShare: round(i.share(o.now.Sub(max(o.since(), i.rose))), 4)}
		for _, batch := range i.running {
			if b := o.history.find(batch); b != nil {
				told.Running = append(told.Running, status.Running{Batch: uint64(batch), Model: b.model.Name, Version: b.model.Version,
					Variant: b.model.variantName(b.Variant), Items: b.Items, ForMS: stats.Milliseconds(o.now.Sub(b.Started)), PredictedMS: stats.Milliseconds(b.Predicted)})
			}
		}
		s.Instances = append(s.Instances, told)
	}
	for id := o.history.last; id > 0 && len(s.Decisions) < status.DecisionsMax; id-- {
		b := o.history.find(id)
		if b == nil {
			break
		}
		s.Decisions = append(s.Decisions, o.decision(b))
	}
	return s
}

// largest lists the clients with the most unfinished items.
func (o *Observer) largest() []status.Client {
	more := func(a, b status.Client) int {
		return cmp.Or(cmp.Compare(b.Items, a.Items), cmp.Compare(b.Jobs, a.Jobs), cmp.Compare(a.Name, b.Name))
	}
	top := []status.Client{}
	for _, c := range o.clients {
		told := status.Client{Name: c.name, Jobs: c.jobs, Items: c.items}
		at, _ := slices.BinarySearchFunc(top, told, more)
		if at < status.ClientsMax {
			top = slices.Insert(top, at, told)
			top = top[:min(len(top), status.ClientsMax)]
		}
	}
	return top
}

// decision describes a batch.
func (o *Observer) decision(b *batchRecord) status.Decision {
	return status.Decision{Batch: uint64(b.Dispatch.Batch), Started: o.wall(b.Started), Instance: int(b.Instance), Model: b.model.Name,
		Version: b.model.Version, Variant: b.model.variantName(b.Variant), Items: b.Items, PredictedMS: stats.Milliseconds(b.Predicted), MeasuredMS: stats.Milliseconds(b.Took),
		State: [...]string{"running", "done", "failed", "lost", "aborted", "unknown"}[b.End], Why: b.why(o.cfg.Policy)}
}

func (m *model) variantName(v int) string { return m.Planner.Variants()[v].Name }

// status describes a model.
func (m *model) status(q record.Queue) status.Model {
	s := status.Model{Name: m.Name, Version: m.Version, Digest: m.Digest, State: "ready", Modalities: m.Modalities,
		QueuedItems: q.Waiting, RunningItems: q.Running, UnfinishedJobs: q.Jobs,
		Items: outcomes(m.all.Items), Jobs: outcomes(m.all.Jobs), Accuracy: m.all.Accuracy().Float(), Recent: m.lately()}
	for reason, jobs := range m.reasons {
		if s.Reasons == nil {
			s.Reasons = map[string]int{}
		}
		s.Reasons[reason.String()] = jobs
	}
	for i, v := range m.Origin().Planner.Variants() { // as profiled
		n := &m.variants[i]
		s.Variants = append(s.Variants, status.Variant{Name: v.Name, Modalities: v.Modalities.Names(m.Modalities), Precision: v.Precision,
			Accuracy: v.Accuracy.Float(), ItemMS: stats.Milliseconds(m.time(i, 1)), TimeScale: round(n.scale, 4), Items: n.ran,
			RecentItems: n.recent[0] + n.recent[1], Failures: n.failures})
	}
	return s
}

// time returns how long a job of that many items takes on a route, alone, with the
// current correction.
func (m *model) time(route, items int) time.Duration {
	r := m.Planner.Routes()[route]
	return time.Duration(float64(r.Curve.Time(items)) * m.variants[r.Variant].scale)
}

// lately returns a model's figures of recent time.
func (m *model) lately() status.Recent {
	var sum recent
	for i := range m.recent {
		r := &m.recent[i]
		sum.AddAll(&r.Totals)
		sum.queued.AddAll(&r.queued)
		sum.compute.AddAll(&r.compute)
		sum.largest = max(sum.largest, r.largest)
	}
	return status.Recent{Items: outcomes(sum.Items), Jobs: outcomes(sum.Jobs), Accuracy: sum.Accuracy().Float(),
		Queue: latency(&sum.queued), Compute: latency(&sum.compute), Total: latency(&sum.JCT),
		Batches: status.Batches{Count: sum.Batches, MeanItems: round(float64(sum.Batched)/float64(max(1, sum.Batches)), 2), MaxItems: sum.largest}}
}

func outcomes(o record.Outcomes) status.Outcomes {
	return status.Outcomes{OnTime: o[slo.OnTime], Late: o[slo.Late], Shed: o[slo.Shed], Infeasible: o[slo.Infeasible],
		Cancelled: o[slo.Cancelled], Failed: o[slo.Failed]}
}

func latency(d *stats.Durations) status.Latency {
	return status.Latency{Count: d.Count, MeanMS: stats.Milliseconds(d.Mean()), P50MS: stats.Milliseconds(d.Quantile(0.5)), P95MS: stats.Milliseconds(d.Quantile(0.95)), P99MS: stats.Milliseconds(d.Quantile(0.99))}
}

// seconds returns a duration in seconds, rounded to milliseconds.
func seconds(d time.Duration) float64 { return round(d.Seconds(), 3) }

// round rounds a number for display.
func round(x float64, decimals int) float64 {
	unit := math.Pow10(decimals)
	return math.Round(x*unit) / unit
}
