package obs

import (
	"math"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// cascade counts what the gate of a route decides.
type cascade struct{ judged, wentOn prometheus.Counter }

func newCascades(i *feed.Model, s *metrics) map[int]cascade {
	cascades := map[int]cascade{}
	for r, route := range i.Planner.Routes() {
		if route.Next == nil {
			continue
		}
		share := 0.0
		for _, b := range route.Next {
			share += b.Share
		}
		s.share.WithLabelValues(i.Name, i.Version, route.Name).Set(share)
		cascades[r] = cascade{s.judged.WithLabelValues(i.Name, i.Version, route.Name), s.wentOn.WithLabelValues(i.Name, i.Version, route.Name)}
	}
	return cascades
}

// judge records what gates decided on the items of a batch that has ended, before the
// tracker sees its end.
func (o *Observer) judge(e sched.Done, confidence []float64) {
	b := o.tracker.Batch(e.Batch)
	if b == nil || b.Routes == nil {
		return
	}
	m, item := o.models[b.Model], -1
	for i, p := range b.Parts {
		c, gated := m.cascades[b.Routes[i]]
		j := o.tracker.Job(p.Job)
		for k := range p.Count {
			item++
			verdict := e.Verdicts[item]
			if !gated || e.PartFailed(i) || verdict == sched.Fail {
				continue
			}
			d := record.Judged{Item: p.First + k, Confidence: math.NaN()}
			if confidence != nil {
				d.Confidence = confidence[item]
			}
			if _, d.On = verdict.Next(); d.On {
				c.wentOn.Inc()
			}
			c.judged.Inc()
			if j != nil {
				j.Judge(b.Routes[i], d)
			}
		}
	}
}

// cascadesOf describes what gates decided on a job's items.
func (e *explaining) cascadesOf() (list []status.Cascade) {
	routes := e.model.Planner.Routes()
	for _, g := range e.job.Gated {
		r := routes[g.Route]
		c := status.Cascade{Name: r.Name, Threshold: r.Threshold, Items: g.Items, WentOn: g.On, Judged: []status.Judged{}}
		for _, b := range r.Next {
			c.ProfiledShare += b.Share
		}
		for _, d := range g.Judged {
			c.Judged = append(c.Judged, status.Judged{Item: d.Item, Confidence: round(d.Confidence, 6), WentOn: d.On})
		}
		list = append(list, c)
	}
	return list
}

// gated says which part a variant had in the cascades that the job's items ran on; "" if
// it had none.
func (e *explaining) gated(v int) string {
	routes := e.model.Planner.Routes()
	for _, g := range e.job.Gated {
		if r := routes[g.Route]; r.Variant == v {
			return "those of " + r.Name + " that were sure enough"
		}
	}
	for _, g := range e.job.Gated {
		for _, b := range routes[g.Route].Next {
			if g.On > 0 && routes[b.Route].Variant == v {
				return "those that " + routes[g.Route].Name + " sent on"
			}
		}
	}
	return ""
}
