package modelpkg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/score"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
	"go.yaml.in/yaml/v3"
)

// taskOther is the task of models with external scores.
const taskOther = "other"

// metricSpec is the metric as written in mosel.yaml: a name, or a mapping of a name and
// parameters.
type metricSpec struct {
	place
	metric score.Metric
	params map[string]place
	broken bool // and reported
}

// readMetric reads "metric: accuracy" and "metric: {name: top_k, k: 5}".
func (r *report) readMetric(n *yaml.Node) metricSpec {
	s := metricSpec{place: strictyaml.PlaceOf(n), params: map[string]place{}}
	before := len(r.Problems)
	if n.Kind != yaml.MappingNode {
		s.metric = r.namedMetric(r.Text(n, "metric"))
		for _, p := range s.metric.Params() {
			if p.Required && len(r.Problems) == before {
				r.At(s.place, "the metric %s needs %s: write {name: %s, %s: ...}", s.metric.Name(), p.Key, s.metric.Name(), p.Key)
			}
		}
		s.broken = len(r.Problems) > before
		return s
	}
	name := word{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "name" && !name.Given() {
			name = r.Text(n.Content[i+1], "the metric's name")
			s.metric = r.namedMetric(name)
		}
	}
	if !name.Given() && len(r.Problems) == before {
		r.At(s.place, "the metric has no name; known: %s", strings.Join(score.Names(), ", "))
	}
	fields := []field{strictyaml.Required("name", func(*yaml.Node) {})} // read before
	if len(r.Problems) > before {
		s.broken = true
		return s
	}
	for _, p := range s.metric.Params() {
		read := func(n *yaml.Node) {
			s.params[p.Key] = strictyaml.PlaceOf(n)
			p.Set(&s.metric, r.parameter(n, p))
		}
		if p.Required {
			fields = append(fields, strictyaml.Required(p.Key, read))
		} else {
			fields = append(fields, strictyaml.Optional(p.Key, read))
		}
	}
	r.Mapping(n, "the metric "+s.metric.Name(), fields)
	if key, err := s.metric.Check(); err != nil && len(r.Problems) == before {
		r.At(s.at(key), "%s", err)
	}
	s.broken = len(r.Problems) > before
	return s
}

// at returns the place of a parameter, or else of the metric.
func (s *metricSpec) at(param string) place {
	if at, ok := s.params[param]; ok {
		return at
	}
	return s.place
}

// namedMetric returns the metric with a name. It refuses measures with which no floor
// can be kept, with the reason.
func (r *report) namedMetric(w word) score.Metric {
	m, known := score.New(w.Text)
	if known || !w.Given() {
		return m
	}
	if why := score.Refused(w.Text); why != "" {
		r.At(w.Place, "%q cannot be the metric: it %s", strictyaml.Clip(w.Text, 40), why)
	} else {
		r.OneOf(w, "metric", score.Names()...)
	}
	return m
}

// parameter reads a number, or a word as its index in the list.
func (r *report) parameter(n *yaml.Node, p score.Param) float64 {
	switch {
	case p.Words != nil:
		word := r.OneOf(r.Text(n, p.Key), p.Key, p.Words...)
		return float64(slices.Index(p.Words, word))
	case p.Whole:
		return float64(r.Whole(n, p.Key, int64(p.Low), int64(p.High)).Value)
	}
	return r.Real(n, p.Key, p.Low, p.High)
}

// buildMetric sets metric and task.
func (r *report) buildMetric(m *Model, s *spec) {
	m.Scoring = s.metric.metric
	m.Metric = m.Scoring.Name()
	own := m.Scoring.Task()
	if own == "" {
		own = taskOther
	}
	m.Task = r.OneOf(s.task.Or(own), "task", tasks()...)
	if s.metric.broken || own == taskOther || m.Task == own || !slices.Contains(tasks(), m.Task) {
		return
	}
	r.At(s.task.Place, "the metric %s measures task: %s, not %s", m.Metric, own, m.Task)
}

// tasks returns all tasks of models.
func tasks() []string {
	var all []string
	for _, name := range score.Names() {
		m, _ := score.New(name)
		if task := m.Task(); task != "" && !slices.Contains(all, task) {
			all = append(all, task)
		}
	}
	return append(all, taskOther)
}

// scored checks that the first output suits the metric.
func (r *report) scored(m *Model, s *spec) {
	if s.metric.broken || len(s.outputs) == 0 || !s.outputs[0].shaped.Given() {
		return
	}
	first, declared := m.Outputs[0], s.outputs[0]
	for _, d := range declared.shape {
		if !d.Given() {
			return // reported before
		}
	}
	if err := m.Scoring.CheckOutput(first.DType == tensor.Invalid || isScore(first.DType), first.Shape); err != nil {
		r.At(declared.Place, "%s, not %v %v", err, first.DType, first.Shape)
		return
	}
	classes := m.Scoring.Classes(first.Shape)
	if param, err := m.Scoring.CheckClasses(classes); param != "" {
		r.At(s.metric.at(param), "%s", err)
		return
	} else if err != nil {
		r.At(declared.shaped, "%s", err)
		return
	}
	if len(s.labels) == 0 {
		return
	}
	switch names := len(s.labels); {
	case !m.Scoring.Named() && !m.Scoring.External():
		r.At(s.labels[0].Place, "the metric %s has no classes that could have names", m.Metric)
	case classes > 0 && names != classes:
		r.At(s.labels[0].Place, "there are %d names for the %d classes of output %q", names, classes, first.Name)
	}
}

// className returns the name of a class, or its number.
func (m *Model) className(class int) string {
	if class >= 0 && class < len(m.Labels) {
		return m.Labels[class]
	}
	return fmt.Sprintf("class %d", class)
}

// Answered describes an answer for people.
func (m *Model) Answered(r score.Result) string {
	switch {
	case m.Scoring.External():
		return "an answer"
	case len(r.Values) == 0:
		return fmt.Sprintf("%s, %.1f %% sure", m.className(r.Class), 100*r.Confidence)
	}
	return numbersText(r.Values)
}

// Labelled describes the right answer to a sample for people.
func (m *Model) Labelled(s *Set, sample int) string {
	switch row := s.Labels; {
	case row.Width == 0:
		return "without a label"
	case m.Scoring.Named() && row.Width == 1:
		return fmt.Sprintf("%q", m.className(row.Class(sample)))
	default:
		return numbersText(row.Row(sample))
	}
}

// numbersShown is how many numbers of an answer are shown on a line.
const numbersShown = 8

func numbersText(values []float64) string {
	var parts []string
	for _, v := range values[:min(len(values), numbersShown)] {
		parts = append(parts, fmt.Sprintf("%.4g", v))
	}
	if len(values) > numbersShown {
		parts = append(parts, "...")
	}
	return strings.Join(parts, ", ")
}
