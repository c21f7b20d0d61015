package obs

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/feed"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/status"
	"github.com/prometheus/client_golang/prometheus"
)

// cascade counts what the gate of a route decides.
type cascade struct {
	judged, wentOn prometheus.Counter
	stayed         prometheus.Counter         // of gates that choose: items that nothing was better for
	to             map[int]prometheus.Counter // of these gates, by route
}

// chose counts an item of a gate that chooses.
func (c cascade) chose(d record.Judged) {
	switch counter := c.to[d.To]; {
	case c.stayed == nil:
	case !d.On:
		c.stayed.Inc()
	case counter != nil:
		counter.Inc()
	}
}

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
		c := cascade{judged: s.judged.WithLabelValues(i.Name, i.Version, route.Name), wentOn: s.wentOn.WithLabelValues(i.Name, i.Version, route.Name)}
		if route.Chooses {
			variant := func(r int) string { return i.Planner.Variants()[i.Planner.Routes()[r].Variant].Name }
			c.stayed, c.to = s.chosen.WithLabelValues(i.Name, i.Version, route.Name, variant(r)), map[int]prometheus.Counter{}
			for _, b := range route.Next {
				c.to[b.Route] = s.chosen.WithLabelValues(i.Name, i.Version, route.Name, variant(b.Route))
			}
		}
		cascades[r] = c
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
			if d.To, d.On = verdict.Next(); d.On {
				c.wentOn.Inc()
			}
			c.judged.Inc()
			c.chose(d)
			if j != nil {
				j.Judge(b.Routes[i], d)
			}
		}
	}
}

// weigh records which modality decided the items of a batch that has ended, of those that
// are answered with it.
func (o *Observer) weigh(e sched.Done, primaries []int) {
	b := o.tracker.Batch(e.Batch)
	if b == nil {
		return
	}
	item := -1
	for i, p := range b.Parts {
		j := o.tracker.Job(p.Job)
		for range p.Count {
			if item++; j != nil && primaries[item] >= 0 && !e.PartFailed(i) && (e.Verdicts == nil || e.Verdicts[item] == sched.Accept) {
				j.Decided(primaries[item])
			}
		}
	}
}

// primaries says how many of the job's items each modality decided.
func (e *explaining) primaries() (list []status.Primary) {
	for modality, items := range e.job.Primaries {
		list = append(list, status.Primary{Modality: e.model.Modalities[modality], Items: items})
	}
	return list
}

// cascadesOf describes what gates decided on a job's items.
func (e *explaining) cascadesOf() (list []status.Cascade) {
	routes := e.model.Planner.Routes()
	for _, g := range e.job.Gated {
		r := routes[g.Route]
		c := status.Cascade{Name: r.Name, Threshold: r.Threshold, Items: g.Items, WentOn: g.On, Judged: []status.Judged{}}
		variant := func(route int) string { return e.model.variantName(routes[route].Variant) }
		for _, b := range r.Next {
			c.ProfiledShare += b.Share
			if r.Chooses {
				c.Ways = append(c.Ways, status.Way{Variant: variant(b.Route), ProfiledShare: round(b.Share, 6), Items: g.To[b.Route]})
			}
		}
		if r.Chooses {
			c.Ways = slices.Insert(c.Ways, 0, status.Way{Variant: variant(g.Route), ProfiledShare: round(max(0, 1-c.ProfiledShare), 6), Items: g.Items - g.On})
		}
		for _, d := range g.Judged {
			j := status.Judged{Item: d.Item, Confidence: round(d.Confidence, 6), WentOn: d.On}
			if r.Chooses && d.On {
				j.To = variant(d.To)
			}
			c.Judged = append(c.Judged, j)
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
		if r := routes[g.Route]; r.Variant == v && r.Chooses {
			return "those that " + r.Name + " kept"
		} else if r.Variant == v {
			return "those of " + r.Name + " that were sure enough"
		}
	}
	for _, g := range e.job.Gated {
		for _, b := range routes[g.Route].Next {
			if g.To[b.Route] > 0 && routes[b.Route].Variant == v {
				return "those that " + routes[g.Route].Name + " sent on"
			}
		}
	}
	return ""
}

// taken is what the gate of a route decided on the job's items; of none if none took it.
func (e *explaining) taken(r int) record.Gated {
	for _, g := range e.job.Gated {
		if g.Route == r {
			return g
		}
	}
	return record.Gated{}
}

// cascadeAlternative is in a sentence why items took a cascade or a gate, or none did.
func (e *explaining) cascadeAlternative(r int) string {
	j, route := e.job, e.planner.Routes()[r]
	lacking := route.Modalities &^ j.Present
	switch {
	case lacking != 0:
		return fmt.Sprintf("needs %s, which the job does not carry", strings.Join(lacking.Names(e.model.Modalities), " and "))
	case j.Choice != 0 && !e.runnable.Has(r):
		return fmt.Sprintf("the client chose %s", j.Choice.Join(e.model.Modalities))
	case j.Objective.NoRecovery && e.planner.Recovers(r):
		return "recovers missing modalities, which the client excluded"
	case !e.runnable.Has(r):
		return "is for items of other sizes"
	}
	g := e.taken(r)
	if g.Items == 0 {
		return e.idle(r)
	}
	var why string
	switch {
	case e.upgradedTo(r):
		why = "more accurate than the floor asks: the load left time for it"
	case route.Accuracy < j.Objective.Floor:
		why = "below the floor by itself; the others raise the mean to it at less cost"
	case g.Items < j.Items:
		why = "planned in a mix with the others"
	case r == e.cheapest():
		why = "the cheapest that reaches the floor"
	default:
		why = "the cheapest that reaches the floor, by the times known then"
	}
	return fmt.Sprintf("%d of %d items took it, and %d went on: %s", g.Items, j.Items, g.On, why)
}

// upgradedTo reports whether a batch ran on a route in place of a planned one that is
// less accurate.
func (e *explaining) upgradedTo(r int) bool {
	for _, b := range e.batches {
		if b.Why != nil && b.Why.Chosen.Route == r && b.Why.Planned.Route != r {
			return true
		}
	}
	return false
}
