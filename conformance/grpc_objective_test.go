package conformance_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// objective is what a call asks for: parameters, and metadata as alternating keys and
// values.
type objective struct {
	parameters map[string]*parameter
	metadata   []string
}

// with sends a valid request with an objective.
func (m *model) with(t *testing.T, o objective) reply {
	t.Helper()
	r := m.request(1)
	r.Parameters = o.parameters
	return m.server.call(t.Context(), r, o.metadata...)
}

// grpcMosel runs a test of objectives over gRPC.
func grpcMosel(t *testing.T, test func(t *testing.T, m *model)) {
	t.Helper()
	subject.needsGRPC(t)
	moselModels(t, test)
}

func TestGRPCObjectivesAnswersSayWhatRan(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		got := m.server.call(t.Context(), m.request(1))
		r := m.replied(t, got)
		if f := m.facts(t, r); f.late {
			t.Error("it is late, although it had no deadline")
		}
		// The answer repeats the objective.
		again := m.replied(t, m.with(t, objective{parameters: map[string]*parameter{"min_accuracy": paramDouble(0.01), "deadline_ms": paramDouble(5000.5)}}))
		for name, want := range map[string]string{"min_accuracy": "0.01", "deadline_ms": "5000.5"} {
			if again.Parameters[name] != want {
				t.Errorf("%s is repeated as %v, want %q", name, again.Parameters[name], want)
			}
		}
		// KServe's clients do not support doubles: a fraction is a string, which all
		// clients read.
		for name, want := range map[string]string{"variant": "string", "modalities": "string", "expected_accuracy": "string", "queue_us": "int64", "compute_us": "int64"} {
			if kind := fmt.Sprintf("%T", r.Parameters[name]); kind != want {
				t.Errorf("parameter %s is a %s, want a %s", name, kind, want)
			}
		}
	})
}

// grpcFloors returns all ways to state a floor, given in thousandths.
func grpcFloors(thousandths int) map[string]objective {
	share := float64(thousandths) / 1000
	text := strconv.FormatFloat(share, 'f', -1, 64)
	return map[string]objective{
		"a double":                       {parameters: map[string]*parameter{"min_accuracy": paramDouble(share)}},
		"a string":                       {parameters: map[string]*parameter{"min_accuracy": paramText(text)}},
		"metadata":                       {metadata: []string{"x-mosel-min-accuracy", text}},
		"metadata above a parameter":     {map[string]*parameter{"min_accuracy": paramDouble(0.001)}, []string{"x-mosel-min-accuracy", text}},
		"a parameter above metadata":     {map[string]*parameter{"min_accuracy": paramDouble(share)}, []string{"x-mosel-min-accuracy", "0.001"}},
		"a parameter among unknown ones": {parameters: map[string]*parameter{"min_accuracy": paramText(text), "x": paramBool(true), "priority": paramUint(1)}},
	}
}

func TestGRPCObjectivesFloorIsKept(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		thousandths := int(m.best(t) * 1000)
		for name, o := range grpcFloors(thousandths) {
			t.Run(name, func(t *testing.T) {
				if f := m.facts(t, m.replied(t, m.with(t, o))); f.accuracy < float64(thousandths)/1000 {
					t.Errorf("expected_accuracy is %v, %v was asked for", f.accuracy, float64(thousandths)/1000)
				}
			})
		}
	})
}

func TestGRPCObjectivesFloorThatIsImpossibleIsRefused(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		best := m.best(t)
		if best > 0.9995 {
			t.Skipf("the properties of model %s give an accuracy of %v, so every floor is possible", m.Name, best)
		}
		for name, o := range grpcFloors(1000) {
			t.Run(name, func(t *testing.T) {
				got := m.with(t, o)
				m.server.failed(t, got.err, codes.FailedPrecondition)
				values := got.trailer.Get("x-mosel-best-accuracy")
				if len(values) != 1 {
					t.Fatalf("the trailer has x-mosel-best-accuracy %q", values)
				}
				if said, err := strconv.ParseFloat(values[0], 64); err != nil || math.Abs(said-best) > 1e-6 {
					t.Errorf("x-mosel-best-accuracy is %q, the model's most accurate variant has %v", values[0], best)
				}
			})
		}
		m.server.readyGRPC(t)
	})
}

// tooLateCall checks that a call was refused because it cannot be on time. The code
// must not be UNAVAILABLE, after which KServe's client retries by itself.
func tooLateCall(t *testing.T, got reply) {
	t.Helper()
	switch code := status.Code(got.err); code {
	case codes.DeadlineExceeded:
	case codes.ResourceExhausted:
		checkRetry(t, strings.Join(got.trailer.Get("x-mosel-retry-after-ms"), ","))
	default:
		t.Errorf("%v, want RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED", got.err)
	}
}

func TestGRPCObjectivesDeadlineThatCannotBeKept(t *testing.T) {
	const key = "x-mosel-deadline-ms"
	grpcMosel(t, func(t *testing.T, m *model) {
		for name, o := range map[string]objective{
			"a double":                     {parameters: map[string]*parameter{"deadline_ms": paramDouble(0.001)}},
			"a string":                     {parameters: map[string]*parameter{"deadline_ms": paramText(tinyMS)}},
			"Triton's timeout":             {parameters: map[string]*parameter{"timeout": paramInt(1)}},
			"the timeout without a sign":   {parameters: map[string]*parameter{"timeout": paramUint(1)}},
			"metadata":                     {metadata: []string{key, tinyMS}},
			"metadata before a parameter":  {map[string]*parameter{"deadline_ms": paramInt(60000)}, []string{key, tinyMS}},
			"a parameter before metadata":  {map[string]*parameter{"deadline_ms": paramDouble(0.001)}, []string{key, generousMS}},
			"the timeout before both":      {map[string]*parameter{"timeout": paramInt(1), "deadline_ms": paramInt(60000)}, []string{key, generousMS}},
			"late: drop, given explicitly": {parameters: map[string]*parameter{"timeout": paramInt(1), "late": paramText("drop")}},
		} {
			t.Run(name, func(t *testing.T) { tooLateCall(t, m.with(t, o)) })
		}
		m.replied(t, m.server.call(t.Context(), m.request(1)))
	})
}

// TestGRPCObjectivesTheEarliestDeadlineCounts combines gRPC's deadline with the others.
// It sends bytes itself, because clients would end the call themselves.
func TestGRPCObjectivesTheEarliestDeadlineCounts(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		for name, tc := range map[string]struct {
			timeout string
			o       objective
			late    bool
		}{
			"gRPC's before a parameter": {"1u", objective{parameters: map[string]*parameter{"deadline_ms": paramInt(60000)}}, true},
			"gRPC's before metadata":    {"1u", objective{metadata: []string{"x-mosel-deadline-ms: " + generousMS}}, true},
			"a parameter before gRPC's": {"60S", objective{parameters: map[string]*parameter{"deadline_ms": paramDouble(0.001)}}, true},
			"metadata before gRPC's":    {"1M", objective{metadata: []string{"x-mosel-deadline-ms: " + tinyMS}}, true},
			"all generous":              {"1H", objective{map[string]*parameter{"timeout": paramInt(60_000_000)}, []string{"x-mosel-deadline-ms: " + generousMS}}, false},
		} {
			t.Run(name, func(t *testing.T) {
				r := m.request(1)
				r.Parameters = tc.o.parameters
				got, err := m.server.callByHand(t.Context(), frame(marshal(t, r)), append(tc.o.metadata, "grpc-timeout: "+tc.timeout)...)
				if err != nil {
					if !tc.late || !gaveUp(err) {
						t.Error(err)
					}
					return
				}
				refused := got.code == codes.ResourceExhausted || got.code == codes.DeadlineExceeded
				if refused != tc.late || !refused && got.code != codes.OK {
					t.Errorf("code %v, %q; it cannot be on time: %t", got.code, got.message, tc.late)
				}
			})
		}
	})
}

func TestGRPCObjectivesDeadlineThatCanBeKept(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		for name, o := range map[string]objective{
			"a double":                        {parameters: map[string]*parameter{"deadline_ms": paramDouble(60000.5)}},
			"a whole number":                  {parameters: map[string]*parameter{"deadline_ms": paramInt(60000)}},
			"a string":                        {parameters: map[string]*parameter{"deadline_ms": paramText(generousMS)}},
			"Triton's timeout":                {parameters: map[string]*parameter{"timeout": paramInt(60_000_000)}},
			"a timeout of 0, which is none":   {parameters: map[string]*parameter{"timeout": paramInt(0)}},
			"metadata":                        {metadata: []string{"x-mosel-deadline-ms", generousMS}},
			"longer than any clock can count": {parameters: map[string]*parameter{"deadline_ms": paramDouble(1e300), "timeout": paramInt(math.MaxInt64)}},
		} {
			t.Run(name, func(t *testing.T) {
				if f := m.facts(t, m.replied(t, m.with(t, o))); f.late {
					t.Error("it is late")
				}
			})
		}
	})
}

func TestGRPCObjectivesLateMayBeRun(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		r := m.replied(t, m.with(t, objective{parameters: map[string]*parameter{"late": paramText("run"), "timeout": paramInt(1)}}))
		if f := m.facts(t, r); !f.late {
			t.Error("the answer does not say that it is late")
		}
		if r.Parameters["late"] != true {
			t.Errorf("parameter late is %v, want the boolean true", r.Parameters["late"])
		}
	})
}

func TestGRPCObjectivesThatMakeNoSenseAreRefused(t *testing.T) {
	subject.needsGRPC(t)
	m := subject.models[0]
	m.needsMosel(t)
	for name, list := range map[string][]*parameter{
		"min_accuracy": {paramBool(true), paramDouble(math.NaN()), paramDouble(math.Inf(1)), paramDouble(-0.1), paramDouble(1.5), paramInt(-1), paramInt(97), paramInt(970), paramInt(1001),
			paramUint(math.MaxUint64), paramUint(97), paramDouble(97), paramText("97"), paramText("much"), paramText(""), paramText("0x1p-1"), {}},
		"deadline_ms": {paramBool(true), paramDouble(math.NaN()), paramDouble(math.Inf(1)), paramDouble(-1), paramDouble(0), paramInt(0), paramText("soon"), paramText(""), paramText("1_000"), {}},
		"timeout":     {paramBool(true), paramInt(-1), paramDouble(1.5), paramText("soon"), {}},
		"late":        {paramBool(true), paramInt(1), paramText("maybe"), paramText(""), {}},
		"modalities":  {paramText("nothing"), paramText(""), paramInt(1), {}},
	} {
		for _, p := range list {
			t.Run(fmt.Sprintf("%s %v", name, plainParameter(p)), func(t *testing.T) {
				m.server.failed(t, m.with(t, objective{parameters: map[string]*parameter{name: p}}).err, codes.InvalidArgument)
			})
		}
	}
	for _, pair := range [][]string{{"x-mosel-min-accuracy", "much"}, {"x-mosel-min-accuracy", "2.5"}, {"x-mosel-min-accuracy", "97"}, {"x-mosel-min-accuracy", ""}, {"x-mosel-min-accuracy", "0.1", "x-mosel-min-accuracy", "97"}, {"x-mosel-deadline-ms", "soon"}, {"x-mosel-deadline-ms", "-1"}} {
		t.Run(strings.Join(pair, " "), func(t *testing.T) {
			m.server.failed(t, m.with(t, objective{metadata: pair}).err, codes.InvalidArgument)
		})
	}
	m.server.readyGRPC(t)
}

func TestGRPCModalitiesMayBeLeftOutAndChosen(t *testing.T) {
	grpcMosel(t, func(t *testing.T, m *model) {
		taken := 0
		for _, subset := range m.subsets(t) {
			r := m.request(1)
			var inputs []*inputTensor
			var raw [][]byte
			for i, in := range r.Inputs {
				if slices.ContainsFunc(subset, func(name string) bool { return slices.Contains(m.list("modality."+name), in.Name) }) {
					inputs, raw = append(inputs, in), append(raw, r.RawInputContents[i])
				}
			}
			r.Inputs, r.RawInputContents = inputs, raw
			overREST := m.infer(t, m.askModalities(subset)).status
			got := m.server.call(t.Context(), r)
			if overREST != 200 {
				m.server.failed(t, got.err, codes.InvalidArgument)
				continue
			}
			taken++
			for _, name := range m.facts(t, m.replied(t, got)).modalities {
				if !slices.Contains(subset, name) {
					t.Errorf("%v were sent, %s was run", subset, name)
				}
			}
			choice := m.request(1)
			choice.Parameters = map[string]*parameter{"modalities": paramText(strings.Join(subset, ","))}
			if got := m.server.call(t.Context(), choice); got.err != nil {
				m.server.failed(t, got.err, codes.InvalidArgument) // no variant runs on exactly these
			} else if f := m.facts(t, m.replied(t, got)); !slices.Equal(f.modalities, subset) {
				t.Errorf("%v were chosen, %v were run", subset, f.modalities)
			}
		}
		if taken == 0 {
			t.Error("not even all modalities together are taken")
		}
	})
}
