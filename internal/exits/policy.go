package exits

import (
	"math"

	"github.com/mosel-serve/mosel/internal/drift"
	"github.com/mosel-serve/mosel/internal/score"
)

const (
	// ShareDefault is the share of the items that the loaded exits cover.
	ShareDefault = 0.95
	// EveryDefault is after how many items the policy looks again, as in HELIOS.
	EveryDefault = 150
	// probesKept bounds the probes that count. With so many, 0.98 can be told from 0.96.
	probesKept = 400
	// probesMin is the least number of probes to decide with, and how many an alarm asks for.
	probesMin = 50
	// probesAway and probesHome are how many probes a look without an alarm asks for: away
	// from the first choice, to find the way back; and there, about one in a hundred items.
	probesAway, probesHome = 20, 2
	// lessMin is by how much a point must cost less, or need less memory, to be worth a
	// move, as a share.
	lessMin = 0.1
	// floorSlack is how far below the floor the lower bound of a cheaper point may be.
	// With probesKept probes, a bound is about 0.015 below the mean.
	floorSlack = 0.01
	// quietLooks is how many looks must pass after a move before a cheaper point is tried.
	quietLooks = 2
)

// Options configure a policy.
type Options struct {
	Models  []Model
	Samples int     // the labelled samples that the models were measured on
	Floor   float64 // the accuracy to keep
	Share   float64 // the share of the items that the loaded exits are to cover
	Every   int     // items between two looks
	// Breaches, if not 0, replaces the sequential test by the counter of HELIOS: more unsure
	// items than these since the last look are an alarm.
	Breaches int
}

// Reason is why a policy moved.
type Reason uint8

// The reasons.
const (
	Stayed   Reason = iota
	Deeper          // more stages of the same model
	Switched        // another model restores the floor, or the share, sooner
	Cheaper         // less is enough
)

// String returns the name of a reason.
func (r Reason) String() string { return [...]string{"stayed", "deeper", "switched", "cheaper"}[r] }

// Move is a change of what is loaded.
type Move struct {
	From, To Point
	Reason   Reason
	Load     float64 // milliseconds until all stages of To are loaded
}

// Policy decides for a group of models of one task.
type Policy struct {
	o        Options
	home, at Point
	covered  *drift.Fall // of the share of the items that are sure at a loaded exit
	breaches int         // since the last look
	items    int         // since the last look
	settled  int         // items since the last move
	looks    int         // since the last move
	alarmed  bool
	alarms   int
	probes   []Probe
}

// New returns a policy that has loaded what the labelled samples recommend.
func New(o Options) *Policy {
	p := &Policy{o: o, settled: o.Every}
	p.home = p.first()
	p.at = p.home
	p.promise(p.figuresOf(p.at).sure, o.Samples)
	return p
}

// Loaded returns what is loaded.
func (p *Policy) Loaded() Point { return p.at }

// Alarms returns how often unsure items have become more frequent.
func (p *Policy) Alarms() int { return p.alarms }

// Allows reports whether an item with a floor may be answered at the deepest loaded exit
// although it is unsure there.
func (p *Policy) Allows(floor float64) bool { return p.figuresOf(p.at).accuracy >= floor }

// Observe observes an answered item: whether it was sure at a loaded exit. If it returns
// true, the caller runs recent items on all models, as many as Probes says, and brings the
// probes to Look.
// After a move, it asks for none before Options.Every items: so there are never two moves
// within as many.
func (p *Policy) Observe(sure bool) bool {
	x := 1.0
	if !sure {
		x = 0
		p.breaches++
	}
	alarm := p.covered.Observe(x)
	if p.o.Breaches > 0 {
		alarm = p.breaches > p.o.Breaches
	}
	if alarm {
		p.alarmed, p.breaches = true, 0
		p.alarms++
	}
	p.items++
	p.settled++
	return p.items >= p.o.Every || p.alarmed && p.settled >= p.o.Every
}

// Probes returns how many of the latest items the caller is to run on all models for a look
// now. They cost more than the items themselves.
func (p *Policy) Probes() int {
	switch {
	case p.alarmed:
		return probesMin
	case p.at != p.home:
		return probesAway
	default:
		return probesHome
	}
}

// Look decides anew with probes of recent items.
func (p *Policy) Look(recent []Probe) Move {
	alarmed := p.alarmed
	if alarmed {
		p.probes = nil // older ones are from before the change
	}
	p.probes = append(p.probes, recent...)
	p.probes = p.probes[max(0, len(p.probes)-probesKept):]
	p.alarmed, p.items, p.breaches = false, 0, 0
	p.looks++
	move := Move{From: p.at, To: p.at}
	if len(p.probes) < probesMin {
		return move
	}
	now := p.figuresOf(p.at)
	switch {
	case now.high < p.o.Floor || alarmed && !p.suits(p.at, now):
		move.To = p.restore()
	case p.looks > quietLooks:
		move.To = p.less(now)
	}
	if move.To != move.From {
		move.Load, move.Reason = p.load(move.To), p.reason(move.To, now)
		p.at, p.looks, p.settled = move.To, 0, 0
	}
	if alarmed || move.To != move.From {
		p.promise(min(p.o.Share, p.figuresOf(p.at).sure), len(p.probes))
	}
	return move
}

// promise starts the test of the covered share anew, with what n items say of it.
func (p *Policy) promise(sure float64, n int) {
	low, _ := score.Wilson(sure, float64(n))
	p.covered = drift.NewFall(low)
}

// figuresOf returns the figures of a point: on probes if there are enough, else on the
// labelled samples.
func (p *Policy) figuresOf(at Point) figures {
	if len(p.probes) < probesMin {
		return labelled(p.o.Models[at.Model], at.Depth)
	}
	return probed(p.o.Models, at, p.probes)
}

// suits reports whether a point keeps the floor and covers the share. Beyond all its
// stages no model can cover more.
func (p *Policy) suits(at Point, f figures) bool {
	return f.accuracy >= p.o.Floor && p.covers(at, f)
}

func (p *Policy) covers(at Point, f figures) bool {
	return f.sure >= p.o.Share || at.Depth == len(p.o.Models[at.Model].Depths)
}

// points calls f for every point with its figures.
func (p *Policy) points(f func(Point, figures)) {
	for model, m := range p.o.Models {
		for depth := 1; depth <= len(m.Depths); depth++ {
			f(Point{model, depth}, p.figuresOf(Point{model, depth}))
		}
	}
}

// restore returns the point that keeps the floor and covers the share soonest. Of those
// that take as long to load, it is the cheapest. If there is none, it is the most accurate.
func (p *Policy) restore() (best Point) {
	load, cost, accuracy, found := math.Inf(1), math.Inf(1), -1.0, false
	p.points(func(at Point, f figures) {
		switch ms, suits := p.load(at), p.suits(at, f); {
		case suits && (ms < load || ms == load && f.cost < cost):
			best, load, cost, found = at, ms, f.cost, true
		case !found && f.accuracy > accuracy:
			best, accuracy = at, f.accuracy
		}
	})
	return best
}

// less returns the cheapest point that needs clearly less than the present one and keeps
// the floor, as far as probes can say; the present one if there is none.
func (p *Policy) less(now figures) Point {
	best, cost, have := p.at, math.Inf(1), p.bytes(p.at)
	p.points(func(at Point, f figures) {
		saves := f.cost < (1-lessMin)*now.cost || f.cost <= now.cost && p.bytes(at) < (1-lessMin)*have
		if saves && f.low >= p.o.Floor-floorSlack && p.suits(at, f) && f.cost < cost {
			best, cost = at, f.cost
		}
	})
	return best
}

// first returns the cheapest point that suits the labelled samples; without one, the most
// accurate.
func (p *Policy) first() (best Point) {
	cost, accuracy := math.Inf(1), -1.0
	p.points(func(at Point, f figures) {
		switch {
		case p.suits(at, f) && f.cost < cost:
			best, cost = at, f.cost
		case math.IsInf(cost, 1) && f.accuracy > accuracy:
			best, accuracy = at, f.accuracy
		}
	})
	return best
}

// load returns how long it takes to load what a point lacks.
func (p *Policy) load(to Point) (ms float64) {
	for depth, d := range p.o.Models[to.Model].Depths[:to.Depth] {
		if to.Model != p.at.Model || depth >= p.at.Depth {
			ms += d.Load
		}
	}
	return ms
}

func (p *Policy) bytes(at Point) float64 {
	return float64(p.o.Models[at.Model].Depths[at.Depth-1].Bytes)
}

func (p *Policy) reason(to Point, now figures) Reason {
	switch {
	case p.figuresOf(to).cost < now.cost:
		return Cheaper
	case to.Model != p.at.Model:
		return Switched
	default:
		return Deeper
	}
}
