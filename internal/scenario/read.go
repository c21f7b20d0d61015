package scenario

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mosel-serve/mosel/internal/sched"
	"github.com/mosel-serve/mosel/internal/sim"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/internal/workload"
	"go.yaml.in/yaml/v3"
)

// reader reads one scenario file and records every mistake in it.
type reader struct {
	strictyaml.Report
	dir    string
	trace  []float64 // replaces the file's traces
	traced bool      // the file had a trace to replace
}

// setting is a value that the scenario, a group or a client may give. The innermost one
// counts.
type setting[T any] struct {
	value T
	place strictyaml.Place
}

func (s setting[T]) or(outer setting[T]) setting[T] {
	if s.place.Given() {
		return s
	}
	return outer
}

// settings are all values of this kind.
type settings struct {
	model, precision setting[string]
	process          setting[workload.Process]
	shape            setting[Shape]
	sizes            setting[workload.Sizes]
	floors           setting[workload.Spread]
	deadline         setting[deadline]
	missing          setting[map[string]float64]
	late             setting[slo.LateRule]
	confidence       setting[slo.Confidence]
}

func (s settings) or(outer settings) settings {
	return settings{model: s.model.or(outer.model), precision: s.precision.or(outer.precision), process: s.process.or(outer.process),
		shape: s.shape.or(outer.shape), sizes: s.sizes.or(outer.sizes), floors: s.floors.or(outer.floors),
		deadline: s.deadline.or(outer.deadline), missing: s.missing.or(outer.missing), late: s.late.or(outer.late),
		confidence: s.confidence.or(outer.confidence)}
}

// clientSpec is a client as written.
type clientSpec struct {
	settings
	name  strictyaml.Word
	share float64
	place strictyaml.Place
}

// groupSpec is a group, or the scenario around the groups, as written.
type groupSpec struct {
	settings
	name      strictyaml.Word
	place     strictyaml.Place
	duration  setting[time.Duration]
	instances setting[[]Kind]
	loads     setting[[]float64]
	faults    setting[faultSpec]
	clients   []clientSpec
}

// deadline is how a job's deadline is drawn.
type deadline struct {
	allFirst bool
	slack    workload.Spread
}

// parseDeadline reads "none", a spread of durations, or a form such as "all+5ms".
func parseDeadline(s string) (deadline, error) {
	if s == "none" {
		return deadline{}, nil
	}
	var d deadline
	if rest, ok := strings.CutPrefix(s, "all+"); ok {
		d.allFirst, s = true, rest
	}
	var err error
	if d.slack, err = workload.ParseSpread(s, workload.ParseSeconds); err != nil {
		return d, err
	}
	if !d.allFirst && d.slack.Low == 0 {
		return d, errors.New("a deadline of 0 is met by nothing; write none for no deadline")
	}
	return d, nil
}

// parseDuration reads a positive duration.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > durationMax {
		return 0, fmt.Errorf("%q is not a duration up to %v, such as 90s", strictyaml.Clip(s, 40), durationMax)
	}
	return d, nil
}

// into returns a field reader that parses a text and stores the value.
func into[T any](r *reader, s *setting[T], what string, parse func(string) (T, error)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		w := r.Text(n, what)
		if !w.Given() {
			return
		}
		v, err := parse(w.Text)
		if err != nil {
			r.At(w.Place, "%s: %v", what, err)
		}
		*s = setting[T]{v, w.Place}
	}
}

func parseConfidence(text string) (slo.Confidence, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number, such as 0.95", strictyaml.Clip(text, 40))
	}
	return slo.ConfidenceOf(x)
}

func asIs(s string) (string, error) { return s, nil }

// fields returns the readers of the settings.
func (s *settings) fields(r *reader) []strictyaml.Field {
	return []strictyaml.Field{
		strictyaml.Optional("model", into(r, &s.model, "model", asIs)),
		strictyaml.Optional("precision", into(r, &s.precision, "precision", asIs)),
		strictyaml.Optional("process", into(r, &s.process, "process", workload.ParseProcess)),
		strictyaml.Optional("rate", func(n *yaml.Node) { s.shape = setting[Shape]{r.shape(n), strictyaml.PlaceOf(n)} }),
		strictyaml.Optional("job_size", into(r, &s.sizes, "job_size", workload.ParseSizes)),
		strictyaml.Optional("floor", into(r, &s.floors, "floor", func(text string) (workload.Spread, error) {
			return workload.ParseSpread(text, workload.ParseShare)
		})),
		strictyaml.Optional("deadline", into(r, &s.deadline, "deadline", parseDeadline)),
		strictyaml.Optional("missing", func(n *yaml.Node) {
			shares := map[string]float64{}
			r.Entries(n, "missing", slo.ModalitiesMax, func(key strictyaml.Word, n *yaml.Node) {
				shares[key.Text] = r.Real(n, "a share of jobs", 0, 1)
			})
			s.missing = setting[map[string]float64]{shares, strictyaml.PlaceOf(n)}
		}),
		strictyaml.Optional("late", into(r, &s.late, "late", slo.ParseLateRule)),
		strictyaml.Optional("confidence", into(r, &s.confidence, "confidence", parseConfidence)),
	}
}

// fields returns the readers of what a group and the scenario have in common.
func (g *groupSpec) fields(r *reader) []strictyaml.Field {
	return append(g.settings.fields(r),
		strictyaml.Optional("duration", into(r, &g.duration, "duration", parseDuration)),
		strictyaml.Optional("instances", func(n *yaml.Node) { g.instances = setting[[]Kind]{r.instances(n), strictyaml.PlaceOf(n)} }),
		strictyaml.Optional("loads", func(n *yaml.Node) {
			g.loads.place = strictyaml.PlaceOf(n)
			r.List(n, "loads", loadsMax, func(n *yaml.Node) {
				g.loads.value = append(g.loads.value, r.Real(n, "a load", 1e-3, workload.RateMax))
			})
		}),
		strictyaml.Optional("faults", func(n *yaml.Node) { g.faults = setting[faultSpec]{r.faults(n), strictyaml.PlaceOf(n)} }),
		strictyaml.Optional("clients", func(n *yaml.Node) {
			r.List(n, "clients", clientsMax, func(n *yaml.Node) { g.clients = append(g.clients, r.client(n)) })
		}),
	)
}

// instances reads the number of instances, or a list of kinds of instances.
func (r *reader) instances(n *yaml.Node) (kinds []Kind) {
	if n.Kind != yaml.SequenceNode {
		return []Kind{{Count: int(r.Whole(n, "instances", 1, instancesMax).Value), Slots: 1, Speed: 1}}
	}
	r.List(n, "instances", kindsMax, func(n *yaml.Node) {
		k := Kind{Count: 1, Slots: 1, Speed: 1}
		r.Mapping(n, "instances of one kind", []strictyaml.Field{
			strictyaml.Optional("count", func(n *yaml.Node) { k.Count = int(r.Whole(n, "count", 1, instancesMax/kindsMax).Value) }),
			strictyaml.Optional("slots", func(n *yaml.Node) { k.Slots = int(r.Whole(n, "slots", 1, slotsMax).Value) }),
			strictyaml.Optional("speed", func(n *yaml.Node) { k.Speed = r.Real(n, "speed", factorMin, factorMax) }),
		})
		kinds = append(kinds, k)
	})
	return kinds
}

func (r *reader) client(n *yaml.Node) clientSpec {
	c := clientSpec{place: strictyaml.PlaceOf(n)}
	r.Mapping(n, "a client", append(c.settings.fields(r),
		strictyaml.Required("name", r.Into(&c.name, "a client's name")),
		strictyaml.Required("share", func(n *yaml.Node) { c.share = r.Real(n, "share", 1e-6, 1e6) }),
	))
	return c
}

// scenario reads the whole file.
func (r *reader) scenario(text []byte) *Scenario {
	root := r.Document(text)
	if root == nil {
		return nil
	}
	s := &Scenario{}
	outer := groupSpec{place: strictyaml.PlaceOf(root)}
	var description strictyaml.Word
	var models []modelSpec
	var groups []groupSpec
	r.Mapping(root, "the scenario", append(outer.fields(r),
		strictyaml.Required("format", func(n *yaml.Node) { r.Whole(n, "format", Format, Format) }),
		strictyaml.Required("description", r.Into(&description, "description")),
		strictyaml.Required("models", func(n *yaml.Node) {
			r.List(n, "models", modelsMax, func(n *yaml.Node) { models = append(models, r.model(n)) })
		}),
		strictyaml.Optional("groups", func(n *yaml.Node) {
			r.List(n, "groups", groupsMax, func(n *yaml.Node) { groups = append(groups, r.group(n)) })
		}),
	))
	s.Description = description.Text
	var names []strictyaml.Word
	for _, m := range models {
		names = append(names, m.name)
	}
	r.Unique(names, "model")
	if len(r.Problems) > 0 {
		return nil // the file cannot be read: further checks would only add noise
	}
	if groups == nil {
		groups = []groupSpec{{place: outer.place}}
	}
	names = nil
	for _, g := range groups {
		names = append(names, g.name)
		s.Groups = append(s.Groups, r.build(g, outer, models))
	}
	r.Unique(names, "group")
	return s
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (r *reader) group(n *yaml.Node) groupSpec {
	g := groupSpec{place: strictyaml.PlaceOf(n)}
	r.Mapping(n, "a group", append(g.fields(r), strictyaml.Required("name", r.Into(&g.name, "a group's name"))))
	if g.name.Given() && !nameForm.MatchString(g.name.Text) {
		r.At(g.name.Place, "the name %q must be letters, digits, '.', '_' and '-', at most 64, because it becomes part of a file name", strictyaml.Clip(g.name.Text, 40))
	}
	return g
}

// shape reads "steady" or one of the other shapes with its numbers.
func (r *reader) shape(n *yaml.Node) Shape {
	var s Shape
	if n.Kind == yaml.ScalarNode {
		r.OneOf(r.Text(n, "rate"), "rate", "steady")
		return s
	}
	shapes := 0
	r.Mapping(n, "rate", []strictyaml.Field{
		strictyaml.Optional("trace", func(n *yaml.Node) { shapes++; s.Trace, s.tracing = r.traceFile(n), true }),
		strictyaml.Optional("diurnal", func(n *yaml.Node) { shapes++; s.Period, s.Swing = r.diurnal(n) }),
		strictyaml.Optional("bursts", func(n *yaml.Node) { shapes++; s.Bursts = r.bursts(n) }),
	})
	if n.Kind == yaml.MappingNode && shapes != 1 {
		r.At(strictyaml.PlaceOf(n), "rate must be steady, or one of trace, diurnal, bursts")
	}
	return s
}

func (r *reader) traceFile(n *yaml.Node) []float64 {
	w := r.Text(n, "trace")
	if !w.Given() {
		return nil
	}
	if r.trace != nil {
		r.traced = true
		return r.trace
	}
	rates, err := readTrace(filepath.Join(r.dir, filepath.FromSlash(w.Text)))
	if err != nil {
		r.At(w.Place, "trace %s: %s", w.Text, reason(err))
	}
	return rates
}

func (r *reader) diurnal(n *yaml.Node) (period time.Duration, swing float64) {
	var p setting[time.Duration]
	r.Mapping(n, "diurnal", []strictyaml.Field{
		strictyaml.Required("period", into(r, &p, "period", parseDuration)),
		strictyaml.Required("swing", func(n *yaml.Node) { swing = r.Real(n, "swing", 0, 1) }),
	})
	return p.value, swing
}

func (r *reader) bursts(n *yaml.Node) workload.Bursts {
	var calm, burst setting[time.Duration]
	var b workload.Bursts
	r.Mapping(n, "bursts", []strictyaml.Field{
		strictyaml.Required("ratio", func(n *yaml.Node) { b.Ratio = r.Real(n, "ratio", 1, 1000) }),
		strictyaml.Required("calm", into(r, &calm, "calm", parseDuration)),
		strictyaml.Required("burst", into(r, &burst, "burst", parseDuration)),
	})
	b.Calm, b.Burst = calm.value, burst.value
	return b
}

// faultSpec is faults as written.
type faultSpec struct {
	sim.Faults
	profile  float64 // what the profile says relative to the truth
	variants map[string]float64
	places   map[string]strictyaml.Place
	furthest sched.InstanceID
	place    strictyaml.Place // of the instance with the highest number
}

// Bounds of faults.
const (
	factorMin, factorMax = 0.01, 100
	outagesMax           = 1000
)

func (r *reader) faults(n *yaml.Node) faultSpec {
	f := faultSpec{profile: 1, variants: map[string]float64{}, places: map[string]strictyaml.Place{}}
	r.Mapping(n, "faults", []strictyaml.Field{
		strictyaml.Optional("noise", func(n *yaml.Node) { f.Noise = r.Real(n, "noise", 0, 0.99) }),
		strictyaml.Optional("failed_batches", func(n *yaml.Node) { f.FailShare = r.Real(n, "failed_batches", 0, 1) }),
		strictyaml.Optional("profile", func(n *yaml.Node) { r.profileError(n, &f) }),
		strictyaml.Optional("lost", func(n *yaml.Node) {
			var every, away setting[time.Duration]
			r.Mapping(n, "lost", []strictyaml.Field{
				strictyaml.Required("every", into(r, &every, "every", parseDuration)),
				strictyaml.Required("for", into(r, &away, "for", parseDuration)),
			})
			f.LoseEvery, f.LoseFor = every.value, away.value
		}),
		strictyaml.Optional("slow", func(n *yaml.Node) {
			r.List(n, "slow", outagesMax, func(n *yaml.Node) {
				s := sim.Slowdown{Factor: 1}
				from, length := r.spell(n, &f, &s.Instance, strictyaml.Required("factor", func(n *yaml.Node) {
					s.Factor = r.Real(n, "factor", factorMin, factorMax)
				}))
				s.From, s.Til = from, from.Add(length)
				f.Slowdowns = append(f.Slowdowns, s)
			})
		}),
		strictyaml.Optional("down", func(n *yaml.Node) {
			r.List(n, "down", outagesMax, func(n *yaml.Node) {
				var o sim.Outage
				o.At, o.For = r.spell(n, &f, &o.Instance)
				f.Outages = append(f.Outages, o)
			})
		}),
		strictyaml.Optional("resize", func(n *yaml.Node) {
			r.List(n, "resize", outagesMax, func(n *yaml.Node) {
				var z sim.Resize
				var at setting[time.Duration]
				r.Mapping(n, "a resize", []strictyaml.Field{
					strictyaml.Required("instance", func(n *yaml.Node) { z.Instance = r.instance(n, &f) }),
					strictyaml.Required("at", into(r, &at, "at", parseDuration)),
					strictyaml.Required("slots", func(n *yaml.Node) { z.Slots = int(r.Whole(n, "slots", 0, slotsMax).Value) }),
				})
				z.At = slo.Instant(at.value)
				f.Resizes = append(f.Resizes, z)
			})
		}),
	})
	return f
}

// spell reads a fault of an instance that starts at an instant and lasts for some time.
func (r *reader) spell(n *yaml.Node, f *faultSpec, instance *sched.InstanceID, more ...strictyaml.Field) (slo.Instant, time.Duration) {
	var at, length setting[time.Duration]
	r.Mapping(n, "a fault", append(more,
		strictyaml.Required("instance", func(n *yaml.Node) { *instance = r.instance(n, f) }),
		strictyaml.Required("at", into(r, &at, "at", parseDuration)),
		strictyaml.Required("for", into(r, &length, "for", parseDuration)),
	))
	return slo.Instant(at.value), length.value
}

// instance reads the number of the instance with the fault.
func (r *reader) instance(n *yaml.Node, f *faultSpec) sched.InstanceID {
	w := r.Whole(n, "instance", 0, instancesMax-1)
	instance := sched.InstanceID(w.Value)
	if instance >= f.furthest {
		f.furthest, f.place = instance, w.Place
	}
	return instance
}

func (r *reader) profileError(n *yaml.Node, f *faultSpec) {
	if n.Kind == yaml.ScalarNode {
		f.profile = r.Real(n, "profile", factorMin, factorMax)
		return
	}
	r.Entries(n, "profile", variantsMax, func(key strictyaml.Word, n *yaml.Node) {
		f.variants[key.Text], f.places[key.Text] = r.Real(n, "a factor", factorMin, factorMax), key.Place
	})
}

// reason returns an error's cause without the operation and path around it.
func reason(err error) string {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return perr.Err.Error()
	}
	return err.Error()
}
