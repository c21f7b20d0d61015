package obs

import (
	"slices"
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// instance holds the counts of an instance.
type instance struct {
	up      bool
	slots   int
	rose    slo.Instant     // when it first came up
	running []sched.BatchID // in order of start
	counted slo.Instant     // instant up to which the running batches' time is counted
	recent  [2]time.Duration
	busy    time.Duration // in all
	losses  int

	upGauge, slotGauge, busyGauge prometheus.Gauge
	busySeconds, lossCounter      prometheus.Counter
}

// instance returns the counts of an instance, and creates them if necessary.
func (o *Observer) instance(id sched.InstanceID) *instance {
	i := o.instances[id]
	if i == nil {
		name := strconv.Itoa(int(id))
		i = &instance{rose: o.now, upGauge: o.metrics.up.WithLabelValues(name), slotGauge: o.metrics.slots.WithLabelValues(name), busyGauge: o.metrics.busy.WithLabelValues(name),
			busySeconds: o.metrics.busySeconds.WithLabelValues(name), lossCounter: o.metrics.losses.WithLabelValues(name)}
		o.instances[id] = i
	}
	return i
}

func (i *instance) rise(slots int) {
	i.up = true
	i.upGauge.Set(1)
	i.resize(slots)
}

func (i *instance) resize(slots int) {
	i.slots = slots
	i.slotGauge.Set(float64(slots))
}

func (i *instance) fall() {
	i.up = false
	i.losses++
	i.upGauge.Set(0)
	i.resize(0)
	i.lossCounter.Inc()
}

func (i *instance) start(batch sched.BatchID, now slo.Instant, current int) {
	i.credit(now, current)
	i.running = append(i.running, batch)
	i.busyGauge.Set(float64(len(i.running)))
}

func (i *instance) end(batch sched.BatchID, now slo.Instant, current int) {
	i.credit(now, current)
	i.running = slices.DeleteFunc(i.running, func(id sched.BatchID) bool { return id == batch })
	i.busyGauge.Set(float64(len(i.running)))
}

// credit adds the time of the running batches up to now.
func (i *instance) credit(now slo.Instant, current int) {
	d := now.Sub(i.counted) * time.Duration(len(i.running))
	i.counted = now
	if d > 0 {
		i.recent[current] += d
		i.busy += d
		i.busySeconds.Add(d.Seconds())
	}
}

// share returns the share of a span in which the instance ran batches, over all its
// slots.
func (i *instance) share(span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return min(1, float64(i.recent[0]+i.recent[1])/float64(span)/float64(max(1, i.slots)))
}
