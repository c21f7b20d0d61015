package obs

import (
	"strconv"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/prometheus/client_golang/prometheus"
)

// instance is what is counted of an instance.
type instance struct {
	up      bool
	rose    slo.Instant   // when it first came up
	batch   sched.BatchID // that it runs; 0: none
	counted slo.Instant   // up to which the running batch's time is counted
	recent  [2]time.Duration
	losses  int

	upGauge, busyGauge       prometheus.Gauge
	busySeconds, lossCounter prometheus.Counter
}

// instance finds what is counted of an instance.
func (o *Observer) instance(id sched.InstanceID) *instance {
	i := o.instances[id]
	if i == nil {
		name := strconv.Itoa(int(id))
		i = &instance{rose: o.now, upGauge: o.metrics.up.WithLabelValues(name), busyGauge: o.metrics.busy.WithLabelValues(name),
			busySeconds: o.metrics.busySeconds.WithLabelValues(name), lossCounter: o.metrics.losses.WithLabelValues(name)}
		o.instances[id] = i
	}
	return i
}

func (i *instance) rise() {
	i.up = true
	i.upGauge.Set(1)
}

func (i *instance) fall() {
	i.up = false
	i.losses++
	i.upGauge.Set(0)
	i.lossCounter.Inc()
}

func (i *instance) start(batch sched.BatchID, now slo.Instant) {
	i.batch, i.counted = batch, now
	i.busyGauge.Set(1)
}

func (i *instance) end(now slo.Instant, current int) {
	i.credit(now, current)
	i.batch = 0
	i.busyGauge.Set(0)
}

// credit counts the time of a batch that runs.
func (i *instance) credit(now slo.Instant, current int) {
	if i.batch == 0 {
		return
	}
	d := now.Sub(i.counted)
	i.recent[current] += d
	i.busySeconds.Add(d.Seconds())
	i.counted = now
}
