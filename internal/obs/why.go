package obs

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/record"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/stats"
)

// why is in a sentence why a batch is what it is.
func (b *batchRecord) why(policy plan.Policy) string {
	d := b.Why
	switch {
	case d == nil:
		return ""
	case d.Options == nil:
		return fmt.Sprintf("as policy %v plans it", policy)
	case d.Chosen == d.Planned:
		return "as planned, the cheapest that keeps the floors; " + b.noBetter(d)
	}
	planned := b.model.Planner.Routes()[d.Planned.Route]
	late := 0.0
	for _, o := range d.Options {
		if o.Batch == d.Chosen {
			late = o.Late
		}
	}
	if d.Chosen.Route == d.Planned.Route {
		return fmt.Sprintf("%d items at most, not the %d planned, so that those to come are served sooner; %s", d.Chosen.Items, d.Planned.Items, lateWords(late))
	}
	return fmt.Sprintf("more accurate than the planned %s (%v): %s; %s", planned.Name, planned.Accuracy, slackWords(d), lateWords(late))
}

// noBetter is why nothing more accurate than planned was run.
func (b *batchRecord) noBetter(d *sched.Decision) string {
	routes := b.model.Planner.Routes()
	accuracy := routes[d.Planned.Route].Accuracy
	best := -1
	for i, o := range d.Options {
		if routes[o.Route].Accuracy > accuracy && (best < 0 || o.Late < d.Options[best].Late) {
			best = i
		}
	}
	switch {
	case b.model.Planner.MaxAccuracy(b.model.Planner.All()) == accuracy:
		return "nothing is more accurate"
	case b.model.Planner.MaxAccuracy(b.runnable) == accuracy:
		return "the first job of the batch carries or chose modalities for which nothing is more accurate"
	case best < 0:
		return "nothing more accurate fits in: " + slackWords(d)
	}
	return fmt.Sprintf("%s would be more accurate, but %s", routes[d.Options[best].Route].Name, lateWords(d.Options[best].Late))
}

// slackWords says how much time there was.
func slackWords(d *sched.Decision) string {
	switch {
	case d.Slack >= time.Hour:
		return "no queued job is close to its deadline"
	case d.Slack <= 0:
		return "there is no slack"
	case d.Reserve >= d.Slack:
		return fmt.Sprintf("%s of slack, all reserved for expected jobs", short(d.Slack))
	case d.Reserve > 0:
		return fmt.Sprintf("%s of slack, %s reserved for expected jobs", short(d.Slack), short(d.Reserve))
	}
	return short(d.Slack) + " of slack"
}

// lateWords says who is expected to be late for a batch.
func lateWords(items float64) string {
	if items < 0.005 {
		return "no expected job would be late"
	}
	return fmt.Sprintf("about %.2g expected items would be late", items)
}

// short prints a duration with three digits or so.
func short(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", stats.Milliseconds(d))
	case abs < time.Second:
		return fmt.Sprintf("%.0f ms", stats.Milliseconds(d))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// ended is in a sentence how the job ended.
func (e *explaining) ended() string {
	j := e.job
	switch {
	case j.End.Outcome == 0 && j.Batches == 0:
		return "it waits in the queue"
	case j.End.Outcome == 0:
		return "some of it has run or is running"
	case !j.End.Outcome.Ran():
		return j.End.Reason.Sentence()
	case j.Objective.Deadline == slo.Never:
		return fmt.Sprintf("done after %s; there was no deadline", short(j.Total()))
	case j.End.Outcome == slo.Late:
		return fmt.Sprintf("done after %s, %s too late", short(j.Total()), short(-j.Slack()))
	}
	return fmt.Sprintf("done after %s, %s before the deadline", short(j.Total()), short(j.Slack()))
}

// alternative is in a sentence why a variant ran some of the job's items, or none.
func (e *explaining) alternative(v int) string {
	j, variant := e.job, e.planner.Variants()[v]
	switch {
	case !j.Present.Has(variant.Modalities):
		lacking := variant.Modalities &^ j.Present
		return fmt.Sprintf("needs %s, which the job does not carry", strings.Join(lacking.Names(e.model.Modalities), " and "))
	case j.Choice != 0 && variant.Modalities != j.Choice:
		return fmt.Sprintf("the client chose %s", j.Choice.Join(e.model.Modalities))
	case j.Objective.NoRecovery && variant.Recovers:
		return "recovers missing modalities, which the client excluded"
	case variant.Inner && e.ran[v] > 0:
		return fmt.Sprintf("ran %d of %d items: a gate sent them on", e.ran[v], j.Items)
	case variant.Sizes != 0 && !e.runnable.Has(v) && !variant.Inner:
		return "is for items of other sizes"
	case e.ran[v] > 0 && e.gated(v) != "":
		return fmt.Sprintf("answered %d of %d items: %s", e.ran[v], j.Items, e.gated(v))
	case e.ran[v] > 0:
		return e.whyRun(v)
	case e.running[v] > 0:
		return fmt.Sprintf("runs %d of %d items now", e.running[v], j.Items)
	case e.stopped[v] == record.BatchAborted:
		return "was running it when nobody wanted it any more"
	case e.stopped[v] == record.BatchLost:
		return "was running it when its instance went away"
	case e.stopped[v] == record.BatchFailed:
		return "was to run it, and the runtime failed"
	case variant.Inner:
		return "runs only items that a gate sends on"
	}
	return e.idle(v)
}

// idle is in a sentence why a route that could have run did not.
func (e *explaining) idle(r int) string {
	j, route := e.job, e.planner.Routes()[r]
	switch {
	case route.Accuracy < j.Objective.Floor && j.Items == 1:
		return "below the floor"
	case route.Accuracy < j.Objective.Floor && e.best() < j.Objective.Floor:
		return "below the floor, as all that could run"
	case j.Objective.Deadline != slo.Never && e.time(r) > j.Objective.Deadline.Sub(j.Arrived):
		return fmt.Sprintf("takes %s, longer than the deadline", short(e.time(r)))
	case j.End.Outcome == 0:
		return "has not run any of it so far"
	case len(j.Ran) == 0:
		return "the job ended before any of it ran"
	}
	if u := e.dominating(r); u >= 0 {
		return fmt.Sprintf("%s is no less accurate and takes no longer", e.planner.Routes()[u].Name)
	}
	return e.whyNot(r)
}

// whyRun is why a variant ran items.
func (e *explaining) whyRun(v int) string {
	j, variant := e.job, e.planner.Variants()[v]
	var text string
	switch {
	case e.upgraded[v]:
		text = "more accurate than the floor asks: the load left time for it"
	case variant.Accuracy < j.Objective.Floor:
		text = "below the floor by itself; the others raise the mean to it at less cost"
	case e.lowest() < j.Objective.Floor:
		text = "raises the mean of all items to the floor"
	case v == e.cheapest():
		text = "the cheapest that reaches the floor"
	case e.policy == plan.PolicyAll:
		text = "policy all runs all modalities there are"
	case e.ran[v] == j.Items:
		text = "the cheapest that reaches the floor, by the times known then"
	default:
		text = "what was planned for the items that were left"
	}
	if e.ran[v] < j.Items {
		return fmt.Sprintf("ran %d of %d items: %s", e.ran[v], j.Items, text)
	}
	return "ran: " + text
}

// whyNot is why a route, which could have run and is on the frontier, did not.
func (e *explaining) whyNot(r int) string {
	accuracy := e.planner.Routes()[r].Accuracy
	option, considered := e.option(r)
	switch {
	case accuracy < e.job.Objective.Floor:
		return "below the floor by itself, and not needed in a mix"
	case accuracy < e.accuracy() && e.policy.LooksAhead():
		return "reaches the floor in less time, but there was time for more accuracy"
	case accuracy < e.accuracy():
		return fmt.Sprintf("reaches the floor in less time; policy %v asks for more", e.policy)
	case !e.policy.LooksAhead():
		return fmt.Sprintf("more accurate, at more cost than policy %v allows", e.policy)
	case considered:
		return "more accurate, but " + lateWords(option.Late)
	}
	return "more accurate, but there was no time for it: somebody in the queue would have been late"
}

// best is the highest accuracy of what can run.
func (e *explaining) best() slo.Accuracy { return e.planner.MaxAccuracy(e.runnable) }

// time is how long the whole job takes on a route.
func (e *explaining) time(r int) time.Duration { return e.model.time(r, e.job.Items) }

// cheapest is the route that reaches the floor in the least time, -1 if none does.
func (e *explaining) cheapest() int {
	best, least := -1, time.Duration(math.MaxInt64)
	for r, route := range e.planner.Routes() {
		if t := e.time(r); e.runnable.Has(r) && route.Accuracy >= e.job.Objective.Floor && t < least {
			best, least = r, t
		}
	}
	return best
}

// dominating is a route that is no worse than r in both accuracy and time, -1
// if none is.
func (e *explaining) dominating(r int) int {
	routes := e.planner.Routes()
	for u, other := range routes {
		if u != r && e.runnable.Has(u) && other.Accuracy >= routes[r].Accuracy && e.time(u) <= e.time(r) {
			return u
		}
	}
	return -1
}

// accuracy is the mean over the items that ran.
func (e *explaining) accuracy() slo.Accuracy {
	if e.job.Gated != nil { // items of one variant differ
		if e.job.Objective.Confidence != 0 {
			return e.job.End.Certified
		}
		return e.job.End.Expected
	}
	var sum slo.Score
	items := 0
	for v, n := range e.ran {
		sum += e.planner.Variants()[v].Accuracy.Times(n)
		items += n
	}
	return sum.Mean(items)
}

// lowest is the accuracy of the least accurate variant that ran items.
func (e *explaining) lowest() slo.Accuracy {
	least := slo.AccuracyUnit
	for v, n := range e.ran {
		if n > 0 {
			least = min(least, e.planner.Variants()[v].Accuracy)
		}
	}
	return least
}

// option is what the decisions that are known said of a route, the one of the
// fewest late items.
func (e *explaining) option(v int) (best sched.Option, found bool) {
	for _, b := range e.batches {
		if b.Why == nil {
			continue
		}
		for _, o := range b.Why.Options {
			if o.Route == v && (!found || o.Late < best.Late) {
				best, found = o, true
			}
		}
	}
	return best, found
}
