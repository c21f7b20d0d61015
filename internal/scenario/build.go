package scenario

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/internal/workload"
)

// durationDefault is the duration of a load if neither the file nor a trace gives one.
const durationDefault = 60 * time.Second

// build makes a group from its own settings and those of the scenario around it.
func (r *reader) build(g, outer groupSpec, models []modelSpec) Group {
	inner := g.settings.or(outer.settings)
	faults := g.faults.or(outer.faults)
	instances := g.instances.or(outer.instances)
	loads := g.loads.or(outer.loads)
	group := Group{Name: g.name.Text, Duration: g.duration.or(outer.duration).value, Instances: instances.value,
		Loads: loads.value, Faults: faults.value.Faults}
	if group.Instances == nil {
		group.Instances = []Kind{{Count: 1, Slots: 1, Speed: 1}}
	}
	if !loads.place.Given() {
		r.At(g.place, "no loads are given, neither in the group nor in the scenario")
	}
	if n := len(group.fleet()); int(faults.value.furthest) >= n {
		r.At(faults.value.place, "there is no instance %d; the first of %d is 0", faults.value.furthest, n)
	}
	clients := g.clients
	if clients == nil {
		clients = outer.clients
	}
	if clients == nil {
		clients = []clientSpec{{share: 1, place: g.place}}
	}
	b := builder{reader: r, group: &group, models: models, faults: faults, used: map[string]int{}, wrong: map[string]bool{}}
	total := 0.0
	for _, c := range clients {
		total += c.share
	}
	for _, c := range clients {
		c.share /= total
		c.settings = c.settings.or(inner)
		b.client(c)
	}
	for name, place := range faults.value.places {
		if !b.wrong[name] {
			r.At(place, "no model of the group has a variant %q", strictyaml.Clip(name, 40))
		}
	}
	if group.Duration == 0 {
		group.Duration = b.traceLength()
	}
	for i, c := range group.Clients {
		if err := c.load(&group, 1, 1, i).Validate(); err != nil {
			r.At(clients[i].place, "%v", err)
		}
	}
	return group
}

// builder makes the models and clients of a group.
type builder struct {
	*reader
	group  *Group
	models []modelSpec
	faults setting[faultSpec]
	used   map[string]int  // index into the group's models, by name and precision
	wrong  map[string]bool // variants with a wrong profile
}

// traceLength returns the length of the longest trace, or the default.
func (b *builder) traceLength() time.Duration {
	length := time.Duration(0)
	for _, c := range b.group.Clients {
		length = max(length, time.Duration(len(c.Shape.Trace))*time.Second)
	}
	if length == 0 {
		return durationDefault
	}
	return min(length, durationMax)
}

func (b *builder) client(c clientSpec) {
	m, ok := b.model(c)
	if !ok {
		return
	}
	out := Client{Name: c.name.Text, Share: c.share, Model: m, Process: c.process.value, Shape: c.shape.value, Sizes: c.sizes.value,
		Floors: c.floors.value, Slack: c.deadline.value.slack, AllFirst: c.deadline.value.allFirst, Late: c.late.value, Confidence: c.confidence.value}
	if !c.process.place.Given() {
		out.Process = workload.Poisson
	}
	if !c.sizes.place.Given() {
		out.Sizes = workload.FixedSize(1)
		if out.Process == workload.Paper {
			out.Sizes = workload.PaperSizes
		}
	}
	modalities := b.group.Models[m].Modalities
	out.Missing = make([]float64, len(modalities))
	for name, share := range c.missing.value {
		i := slices.Index(modalities, name)
		if i < 0 {
			b.At(c.missing.place, "model %s has no modality %q%s", b.group.Models[m].Name, strictyaml.Clip(name, 40), strictyaml.Suggest(name, modalities))
			continue
		}
		out.Missing[i] = share
	}
	b.group.Clients = append(b.group.Clients, out)
}

// model returns the client's model among the group's, and adds it if necessary.
func (b *builder) model(c clientSpec) (int, bool) {
	name := c.settings.model
	if !name.place.Given() && len(b.models) > 1 {
		b.At(c.place, "name the model; there are %d", len(b.models))
		return 0, false
	}
	at := 0
	if name.place.Given() {
		at = slices.IndexFunc(b.models, func(m modelSpec) bool { return m.name.Text == name.value })
	}
	if at < 0 {
		var known []string
		for _, m := range b.models {
			known = append(known, m.name.Text)
		}
		b.At(name.place, "there is no model %q%s", strictyaml.Clip(name.value, 40), strictyaml.Suggest(name.value, known))
		return 0, false
	}
	key := b.models[at].name.Text + "\x00" + c.precision.value
	if i, ok := b.used[key]; ok {
		return i, true
	}
	m, err := b.planned(b.models[at], c.precision)
	if err != nil {
		b.At(b.models[at].place, "%v", err)
		return 0, false
	}
	b.used[key] = len(b.group.Models)
	b.group.Models = append(b.group.Models, m)
	return b.used[key], true
}

// planned makes the planners of a model: one with the true times, one with those of its
// profile.
func (b *builder) planned(spec modelSpec, precision setting[string]) (Model, error) {
	m := Model{Name: spec.name.Text, Modalities: spec.modalities, BatchItemsMax: spec.batch}
	var truth, profiled []plan.Variant
	var known []string
	for _, v := range spec.variants {
		if known = append(known, v.Precision); precision.place.Given() && v.Precision != precision.value {
			continue
		}
		truth = append(truth, v)
		factor := b.faults.value.profile
		if f, ok := b.faults.value.variants[v.Name]; ok {
			factor, b.wrong[v.Name] = f, true
		}
		if factor != 0 && factor != 1 {
			curve, err := scaled(v.Curve, factor)
			if err != nil {
				return m, err
			}
			v.Curve = curve
		}
		profiled = append(profiled, v)
	}
	if len(truth) == 0 {
		return m, fmt.Errorf("model %s has no variant of precision %q%s", m.Name, strictyaml.Clip(precision.value, 40), strictyaml.Suggest(precision.value, known))
	}
	routes, err := resolve(spec.routes, truth, spec.variants)
	if err != nil {
		return m, fmt.Errorf("model %s: %w", m.Name, err)
	}
	if m.True, err = plan.New(truth, routes...); err != nil {
		return m, fmt.Errorf("model %s: %w", m.Name, err)
	}
	if m.Profiled, err = plan.New(profiled, routes...); err != nil {
		return m, fmt.Errorf("model %s: %w", m.Name, err)
	}
	m.classes, err = classes(b.group.Instances, m.Profiled)
	return m, err
}

// classes returns a model's latencies on each kind of instance; nil if all kinds have
// the speed of the profile.
func classes(kinds []Kind, p *plan.Planner) (list []sched.Residence, err error) {
	alike := true
	for _, k := range kinds {
		r := sched.Residence{Variants: 1<<len(p.Variants()) - 1}
		if k.Speed != 1 {
			alike = false
			for _, v := range p.Variants() {
				curve, err := scaled(v.Curve, 1/k.Speed)
				if err != nil {
					return nil, err
				}
				r.Curves = append(r.Curves, curve)
			}
		}
		list = append(list, r)
	}
	if alike {
		return nil, nil
	}
	return list, nil
}

// scaled returns a curve with all times multiplied by a factor.
func scaled(c plan.Curve, factor float64) (plan.Curve, error) {
	var points []plan.Point
	for b := 1; b <= c.Max(); b++ {
		points = append(points, plan.Point{Items: b, Time: max(1, time.Duration(math.Round(float64(c.Batch(b))*factor)))})
	}
	return plan.NewCurve(points)
}
