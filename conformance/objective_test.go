package conformance_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// moselModels runs a test of objectives for every model, if the server is mosel.
func moselModels(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	eachModel(t, func(t *testing.T, m *model) {
		m.needsMosel(t)
		test(t, m)
	})
}

// list returns the names in a property.
func (m *model) list(property string) []string { return strings.Split(m.Properties[property], ",") }

// best returns the accuracy of the model's most accurate variant.
func (m *model) best(t *testing.T) float64 {
	t.Helper()
	best := 0.0
	for _, variant := range m.list("variants") {
		accuracy, err := strconv.ParseFloat(m.Properties["accuracy."+variant], 64)
		if err != nil || accuracy < 0 || accuracy > 1 {
			t.Fatalf("property accuracy.%s is %q", variant, m.Properties["accuracy."+variant])
		}
		best = max(best, accuracy)
	}
	return best
}

// facts are what an answer says about what ran.
type facts struct {
	variants   []string
	modalities []string
	accuracy   float64
	late       bool
}

// facts reads the facts from the parameters, and compares the headers with them.
func (m *model) facts(t *testing.T, r result) facts {
	t.Helper()
	f := facts{}
	text := func(name string) string {
		value, ok := r.Parameters[name]
		if !ok {
			t.Fatalf("the answer has no parameter %s: %v", name, r.Parameters)
		}
		shown := fmt.Sprint(value)
		header := r.header.Get("x-mosel-" + strings.ReplaceAll(name, "_", "-"))
		if number, ok := value.(float64); ok {
			mirrored, err := strconv.ParseFloat(header, 64)
			if err != nil || mirrored != number {
				t.Errorf("parameter %s is %v, its header says %q", name, value, header)
			}
		} else if header != shown {
			t.Errorf("parameter %s is %v, its header says %q", name, value, header)
		}
		return shown
	}
	f.read(t, m, text)
	_, f.late = r.Parameters["late"]
	if (r.header.Get("x-mosel-late") != "") != f.late {
		t.Errorf("parameter late is there: %t, its header is %q", f.late, r.header.Get("x-mosel-late"))
	}
	if f.late && text("late") != "true" {
		t.Errorf("late is %v: it is true or absent", r.Parameters["late"])
	}
	return f
}

// read checks the facts against the model's properties.
func (f *facts) read(t *testing.T, m *model, text func(name string) string) {
	t.Helper()
	for part := range strings.SplitSeq(text("variant"), ",") {
		name, _, _ := strings.Cut(part, ":")
		steps, _, _ := strings.Cut(name, "<") // a cascade is named by its variants and its threshold
		for step := range strings.SplitSeq(steps, ">") {
			if !slices.Contains(m.list("variants"), step) {
				t.Errorf("variant %q of %q is not one of %v", step, name, m.list("variants"))
			}
		}
		f.variants = append(f.variants, name)
	}
	f.modalities = strings.Split(text("modalities"), ",")
	for _, name := range f.modalities {
		if !slices.Contains(m.list("modalities"), name) {
			t.Errorf("modality %q is not one of %v", name, m.list("modalities"))
		}
	}
	var err error
	if f.accuracy, err = strconv.ParseFloat(text("expected_accuracy"), 64); err != nil || f.accuracy < 0 || f.accuracy > 1 {
		t.Errorf("expected_accuracy is %q", text("expected_accuracy"))
	}
	for _, name := range []string{"queue_us", "compute_us"} {
		if us, err := strconv.ParseFloat(text(name), 64); err != nil || us < 0 || us != math.Trunc(us) {
			t.Errorf("%s is %q, want whole microseconds", name, text(name))
		}
	}
}

func TestObjectivesProperties(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		m.best(t)
		owned := map[string]bool{}
		for _, modality := range m.list("modalities") {
			for _, input := range m.list("modality." + modality) {
				if !slices.ContainsFunc(m.Inputs, func(in tensorSpec) bool { return in.Name == input }) || owned[input] {
					t.Errorf("modality %s owns %q, which is no input or another's", modality, input)
				}
				owned[input] = true
			}
		}
		if len(owned) != len(m.Inputs) {
			t.Errorf("modalities own %d of %d inputs", len(owned), len(m.Inputs))
		}
	})
}

func TestObjectivesAnswersSayWhatRan(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		for name, a := range map[string]ask{"in JSON": m.ask(1), "in binary form": m.askBinary(1), "of several items": m.askBinary(3)} {
			t.Run(name, func(t *testing.T) {
				if f := m.facts(t, m.result(t, m.infer(t, a))); f.late {
					t.Error("it is late, although it had no deadline")
				}
			})
		}
	})
}

// floors returns all ways to state a floor, given in thousandths. The last of several
// entries in more is the header.
func floors(thousandths int) map[string]ask {
	share := strconv.FormatFloat(float64(thousandths)/1000, 'f', -1, 64)
	list := map[string]ask{
		"a number":                       {parameters: []string{`"min_accuracy":` + share}},
		"a string":                       {parameters: []string{`"min_accuracy":"` + share + `"`}},
		"a number with an exponent":      {parameters: []string{fmt.Sprintf(`"min_accuracy":%de-3`, thousandths)}},
		"a header":                       {more: []string{"x-mosel-min-accuracy: " + share}},
		"a header above a parameter":     {parameters: []string{`"min_accuracy":0.001`}, more: []string{"x-mosel-min-accuracy: " + share}},
		"a parameter above a header":     {parameters: []string{`"min_accuracy":` + share}, more: []string{"x-mosel-min-accuracy: 0.001"}},
		"a parameter among unknown ones": {parameters: []string{`"x":1`, `"min_accuracy":` + share, `"priority":0`}},
	}
	return list
}

// inferWith sends a valid request with the parameters of extra, and the headers in its
// more.
func (m *model) inferWith(t *testing.T, extra ask) answer {
	t.Helper()
	return m.infer(t, m.ask(1).param(extra.parameters...), extra.more...)
}

func TestObjectivesFloorIsKept(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		thousandths := int(m.best(t) * 1000)
		for name, extra := range floors(thousandths) {
			t.Run(name, func(t *testing.T) {
				f := m.facts(t, m.result(t, m.inferWith(t, extra)))
				if f.accuracy < float64(thousandths)/1000 {
					t.Errorf("expected_accuracy is %v, %v was asked for", f.accuracy, float64(thousandths)/1000)
				}
			})
		}
		t.Run("none", func(t *testing.T) {
			for _, none := range []string{`"min_accuracy":0`, `"min_accuracy":0.0`, `"min_accuracy":"0"`} {
				m.facts(t, m.result(t, m.infer(t, m.ask(1).param(none))))
			}
		})
	})
}

// TestObjectivesAreRepeated checks that an answer repeats the floor and the deadline as
// understood, in its parameters and headers, and nothing that was not asked for.
func TestObjectivesAreRepeated(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		type said struct{ Floor, Deadline string }
		for name, tt := range map[string]struct {
			ask  ask
			want said
		}{
			"nothing":         {ask{}, said{}},
			"both":            {ask{parameters: []string{`"min_accuracy":"0.010"`, `"deadline_ms":` + generousMS}}, said{"0.01", generousMS}},
			"a fraction":      {ask{parameters: []string{`"deadline_ms":60000.25`}}, said{"", "60000.25"}},
			"the stricter":    {ask{parameters: []string{`"min_accuracy":0.01`, `"timeout":50000000`}, more: []string{"x-mosel-min-accuracy: 0.02", "x-mosel-deadline-ms: 55000"}}, said{"0.02", "50000"}},
			"none, in words":  {ask{parameters: []string{`"min_accuracy":0`, `"timeout":0`}}, said{}},
			"ages, which are": {ask{parameters: []string{`"deadline_ms":1e300`}}, said{}},
		} {
			t.Run(name, func(t *testing.T) {
				a := m.inferWith(t, tt.ask)
				m.result(t, a)
				var body struct{ Parameters map[string]json.RawMessage }
				if err := json.Unmarshal(a.body, &body); err != nil {
					t.Fatalf("%v: %v", a, err)
				}
				if got := (said{string(body.Parameters["min_accuracy"]), string(body.Parameters["deadline_ms"])}); got != tt.want {
					t.Errorf("the parameters say %q, want %q", got, tt.want)
				}
			})
		}
	})
}

// impossible checks that a floor was refused with the best possible accuracy.
func impossible(t *testing.T, a answer, best float64) {
	t.Helper()
	a.refused(t, http.StatusUnprocessableEntity)
	var body struct {
		Best *float64 `json:"best_accuracy"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.Best == nil {
		t.Errorf("%v, want best_accuracy", a)
	} else if math.Abs(*body.Best-best) > 1e-6 {
		t.Errorf("best_accuracy is %v, the model's most accurate variant has %v", *body.Best, best)
	}
}

func TestObjectivesFloorThatIsImpossibleIsRefused(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		best := m.best(t)
		if best > 0.9995 {
			t.Skipf("the properties of model %s give an accuracy of %v, so every floor is possible", m.Name, best)
		}
		for name, extra := range floors(1000) {
			if name == "a number" {
				extra.parameters = []string{`"min_accuracy":1.0`}
			}
			t.Run(name, func(t *testing.T) { impossible(t, m.inferWith(t, extra), best) })
		}
		t.Run("just above the best", func(t *testing.T) {
			impossible(t, m.infer(t, m.ask(1).param(fmt.Sprintf(`"min_accuracy":%.6f`, best+0.0001))), best)
		})
		t.Run("for all items of a request", func(t *testing.T) {
			impossible(t, m.infer(t, m.askBinary(5).param(`"min_accuracy":1`)), best)
		})
		m.server.ready(t)
	})
}

// lateStatuses are the statuses for a request that cannot be on time: it is shed, or
// its deadline has passed. 503 is not one of them, because clients would retry at once.
var lateStatuses = []int{http.StatusTooManyRequests, http.StatusGatewayTimeout}

// tooLate checks the answer to a request that cannot be on time.
func tooLate(t *testing.T, a answer) {
	t.Helper()
	a.refused(t, lateStatuses...)
	if a.status != http.StatusTooManyRequests {
		return
	}
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q, want whole seconds, at least 1", a.header.Get("Retry-After"))
	}
	var body struct {
		After *float64 `json:"retry_after_ms"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.After == nil || *body.After <= 0 {
		t.Errorf("%v, want retry_after_ms above 0", a)
	} else if wait := *body.After / 1000; float64(seconds) < wait || float64(seconds) > wait+1 {
		t.Errorf("Retry-After is %d s, retry_after_ms %v", seconds, *body.After)
	}
}

const (
	tinyMS     = `0.001` // no model runs in a microsecond
	tinyUS     = `1`
	generousMS = `60000`
	generousUS = `60000000`
)

func TestObjectivesDeadlineThatCannotBeKept(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		header := "x-mosel-deadline-ms: "
		for name, extra := range map[string]ask{
			"a number":                       {parameters: []string{`"deadline_ms":` + tinyMS}},
			"a string":                       {parameters: []string{`"deadline_ms":"` + tinyMS + `"`}},
			"a number with an exponent":      {parameters: []string{`"deadline_ms":1e-3`}},
			"Triton's timeout":               {parameters: []string{`"timeout":` + tinyUS}},
			"a header":                       {more: []string{header + tinyMS}},
			"a header before a parameter":    {parameters: []string{`"deadline_ms":` + generousMS}, more: []string{header + tinyMS}},
			"a parameter before a header":    {parameters: []string{`"deadline_ms":` + tinyMS}, more: []string{header + generousMS}},
			"the timeout before both":        {parameters: []string{`"deadline_ms":` + generousMS, `"timeout":` + tinyUS}, more: []string{header + generousMS}},
			"both before the timeout":        {parameters: []string{`"timeout":` + generousUS, `"deadline_ms":` + tinyMS}, more: []string{header + tinyMS}},
			"late: drop, given explicitly":   {parameters: []string{`"late":"drop"`, `"deadline_ms":` + tinyMS}},
			"for many items":                 {parameters: []string{`"deadline_ms":` + tinyMS}},
			"and a floor that is possible":   {parameters: []string{`"deadline_ms":` + tinyMS, `"min_accuracy":0.001`}},
			"and a choice of all modalities": {parameters: []string{`"deadline_ms":` + tinyMS, `"modalities":` + quote(m.Properties["modalities"])}},
			"a timeout without other limits": {parameters: []string{`"timeout":` + tinyUS, `"priority":1`}},
		} {
			t.Run(name, func(t *testing.T) {
				if name == "for many items" {
					tooLate(t, m.infer(t, m.askBinary(50).param(extra.parameters...)))
					return
				}
				tooLate(t, m.inferWith(t, extra))
			})
		}
		m.result(t, m.infer(t, m.ask(1)))
	})
}

func TestObjectivesDeadlineThatCanBeKept(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		header := "x-mosel-deadline-ms: "
		for name, extra := range map[string]ask{
			"a number":                        {parameters: []string{`"deadline_ms":` + generousMS}},
			"a string":                        {parameters: []string{`"deadline_ms":"` + generousMS + `"`}},
			"a fraction":                      {parameters: []string{`"deadline_ms":` + generousMS + `.5`}},
			"Triton's timeout":                {parameters: []string{`"timeout":` + generousUS}},
			"a timeout of 0, which is none":   {parameters: []string{`"timeout":0`}},
			"a header":                        {more: []string{header + generousMS}},
			"all of them":                     {parameters: []string{`"timeout":` + generousUS, `"deadline_ms":` + generousMS}, more: []string{header + generousMS}},
			"longer than any clock can count": {parameters: []string{`"deadline_ms":1e300`, `"timeout":9223372036854775807`}},
			"late: run, given explicitly":     {parameters: []string{`"late":"run"`, `"deadline_ms":` + generousMS}},
		} {
			t.Run(name, func(t *testing.T) {
				if f := m.facts(t, m.result(t, m.inferWith(t, extra))); f.late {
					t.Error("it is late")
				}
			})
		}
	})
}

func TestObjectivesLateMayBeRun(t *testing.T) {
	moselModels(t, func(t *testing.T, m *model) {
		for _, extra := range []ask{{parameters: []string{`"late":"run"`, `"deadline_ms":` + tinyMS}}, {parameters: []string{`"late":"run"`, `"timeout":` + tinyUS}},
			{parameters: []string{`"late":"run"`}, more: []string{"x-mosel-deadline-ms: " + tinyMS}}} {
			if f := m.facts(t, m.result(t, m.inferWith(t, extra))); !f.late {
				t.Errorf("%v: the answer does not say that it is late", extra)
			}
		}
	})
}

func TestObjectivesThatMakeNoSenseAreRefused(t *testing.T) {
	m := subject.models[0]
	m.needsMosel(t)
	for _, member := range []string{
		`"min_accuracy":-0.1`, `"min_accuracy":1.1`, `"min_accuracy":2`, `"min_accuracy":97`, `"min_accuracy":"97"`, `"min_accuracy":970`, `"min_accuracy":1000`, `"min_accuracy":1001`,
		`"min_accuracy":-5`, `"min_accuracy":2.5`, `"min_accuracy":"much"`, `"min_accuracy":""`,
		`"min_accuracy":true`, `"min_accuracy":"NaN"`, `"min_accuracy":"Inf"`, `"min_accuracy":1e400`, `"min_accuracy":null`, `"min_accuracy":"0x1p-1"`, `"min_accuracy":"0.9_7"`,
		`"deadline_ms":0`, `"deadline_ms":-1`, `"deadline_ms":"soon"`, `"deadline_ms":""`, `"deadline_ms":true`, `"deadline_ms":"NaN"`, `"deadline_ms":"Inf"`, `"deadline_ms":null`, `"deadline_ms":"1_000"`, `"deadline_ms":"0x1p9"`,
		`"timeout":-1`, `"timeout":1.5`, `"timeout":"soon"`, `"timeout":true`, `"timeout":99999999999999999999`, `"timeout":null`, `"timeout":"1_000"`,
		`"late":"maybe"`, `"late":true`, `"late":1`, `"late":""`, `"late":null`,
		`"modalities":""`, `"modalities":null`, `"modalities":1`, `"modalities":true`,
	} {
		t.Run(member, func(t *testing.T) { m.infer(t, m.ask(1).param(member)).refused(t, http.StatusBadRequest) })
	}
	for _, header := range []string{"x-mosel-min-accuracy: much", "x-mosel-min-accuracy: -1", "x-mosel-min-accuracy: 1.5", "x-mosel-min-accuracy: 0.5, 0.6", "x-mosel-min-accuracy: 97",
		"x-mosel-min-accuracy: ", "x-mosel-deadline-ms: ", "x-mosel-deadline-ms: 1_000",
		"x-mosel-deadline-ms: soon", "x-mosel-deadline-ms: 0", "x-mosel-deadline-ms: -1", "x-mosel-deadline-ms: 50ms"} {
		t.Run(header, func(t *testing.T) { m.infer(t, m.ask(1), header).refused(t, http.StatusBadRequest) })
	}
	m.server.ready(t)
}
