package api

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// arrived is an arbitrary time.
const arrived slo.Instant = 1_000_000_000

func TestObjective(t *testing.T) {
	num := func(f float64) oip.Value { return oip.Float(f) }
	within := func(d time.Duration) slo.Instant { return arrived.Add(d) }
	for _, tt := range []struct {
		name   string
		params oip.Parameters
		header [2]string
		want   slo.Objective
	}{
		{"nothing", nil, [2]string{}, slo.Objective{Deadline: slo.Never}},
		{"other parameters", oip.Parameters{{Name: "priority", Value: oip.Int(1)}, {Name: "sequence_id", Value: oip.String("x")}}, [2]string{},
			slo.Objective{Deadline: slo.Never}},
		{"floor", oip.Parameters{{Name: "min_accuracy", Value: num(0.97)}}, [2]string{}, slo.Objective{Floor: 970_000, Deadline: slo.Never}},
		{"floor as a string", oip.Parameters{{Name: "min_accuracy", Value: oip.String(" 0.9725 ")}}, [2]string{}, slo.Objective{Floor: 972_500, Deadline: slo.Never}},
		{"1 is all", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(1)}}, [2]string{}, slo.Objective{Floor: slo.AccuracyUnit, Deadline: slo.Never}},
		{"1.0 is all", oip.Parameters{{Name: "min_accuracy", Value: num(1)}}, [2]string{}, slo.Objective{Floor: slo.AccuracyUnit, Deadline: slo.Never}},
		{"0 is none", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(0)}}, [2]string{}, slo.Objective{Deadline: slo.Never}},
		{"floor in the header", nil, [2]string{"0.9"}, slo.Objective{Floor: 900_000, Deadline: slo.Never}},
		{"the higher floor, in the header", oip.Parameters{{Name: "min_accuracy", Value: num(0.5)}}, [2]string{"0.9"}, slo.Objective{Floor: 900_000, Deadline: slo.Never}},
		{"the higher floor, as a parameter", oip.Parameters{{Name: "min_accuracy", Value: num(0.95)}}, [2]string{"0.9"}, slo.Objective{Floor: 950_000, Deadline: slo.Never}},
		{"deadline", oip.Parameters{{Name: "deadline_ms", Value: num(12.5)}}, [2]string{}, slo.Objective{Deadline: within(12500 * time.Microsecond)}},
		{"deadline as a string", oip.Parameters{{Name: "deadline_ms", Value: oip.String("50")}}, [2]string{}, slo.Objective{Deadline: within(50 * time.Millisecond)}},
		{"timeout", oip.Parameters{{Name: "timeout", Value: oip.Int(700)}}, [2]string{}, slo.Objective{Deadline: within(700 * time.Microsecond)}},
		{"no timeout", oip.Parameters{{Name: "timeout", Value: oip.Int(0)}}, [2]string{}, slo.Objective{Deadline: slo.Never}},
		{"the earliest is the timeout", oip.Parameters{{Name: "deadline_ms", Value: num(5)}, {Name: "timeout", Value: oip.String("4000")}}, [2]string{"", "6"},
			slo.Objective{Deadline: within(4 * time.Millisecond)}},
		{"the earliest is the header", oip.Parameters{{Name: "deadline_ms", Value: num(5)}, {Name: "timeout", Value: oip.Int(4000)}}, [2]string{"", "3.5"},
			slo.Objective{Deadline: within(3500 * time.Microsecond)}},
		{"a million years", oip.Parameters{{Name: "deadline_ms", Value: num(1e300)}, {Name: "timeout", Value: oip.Int(math.MaxInt64)}}, [2]string{},
			slo.Objective{Deadline: slo.Never}},
		{"late", oip.Parameters{{Name: "late", Value: oip.String("run")}}, [2]string{}, slo.Objective{Deadline: slo.Never, Late: slo.LateRun}},
	} {
		header := http.Header{}
		if tt.header[0] != "" {
			header.Set("x-mosel-min-accuracy", tt.header[0])
		}
		if tt.header[1] != "" {
			header.Set("x-mosel-deadline-ms", tt.header[1])
		}
		got, err := objective(tt.params, header, arrived, 0)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

// TestConfidences checks where the confidence of a floor comes from: the request, the
// higher of its parameter and its header, else the server's default.
func TestConfidences(t *testing.T) {
	const usual = 3
	for _, c := range []struct {
		params oip.Parameters
		header string
		want   float64
	}{
		{nil, "", 0.95}, {oip.Parameters{{Name: "accuracy_confidence", Value: oip.Int(0)}}, "", 0}, {nil, "0", 0}, {nil, "0.99", 0.99},
		{oip.Parameters{{Name: "accuracy_confidence", Value: oip.Float(0.91)}}, "", 0.95}, {oip.Parameters{{Name: "accuracy_confidence", Value: oip.String("0.8")}}, "0.9", 0.9},
	} {
		header := http.Header{}
		if c.header != "" {
			header.Set("x-mosel-accuracy-confidence", c.header)
		}
		if got, err := objective(c.params, header, arrived, usual); err != nil || got.Confidence.Float() != c.want {
			t.Errorf("%v and header %q: %v, %v; want %v", c.params, c.header, got.Confidence.Float(), err, c.want)
		}
	}
}

// TestObjectivesThatAreRefused has invalid floors, times and rules, in every type of
// value, with a part of the error.
func TestObjectivesThatAreRefused(t *testing.T) {
	const share, left, whole = "an accuracy is a number between 0 and 1, such as 0.97", "it must be a number of milliseconds above 0", "it must be a whole number of microseconds"
	for name, cases := range map[string]map[oip.Value]string{
		"min_accuracy": {
			oip.Int(97): "min_accuracy is 97: an accuracy is between 0 and 1; did you mean 0.97?", oip.Uint(973): "is 973: an accuracy is between 0 and 1; did you mean 0.973?",
			oip.String("97"): "did you mean 0.97?", oip.Float(97): "did you mean 0.97?", oip.Float(97.5): "did you mean 0.975?", oip.Int(1000): "did you mean 1?",
			oip.Int(2): "is 2: an accuracy is between 0 and 1", oip.Float(9.7): "is 9.7: an accuracy is between 0 and 1", oip.Float(1.0000001): "between 0 and 1",
			oip.Int(-1): "is -1: an accuracy", oip.Float(-0.5): "is -0.5: an accuracy", oip.Uint(math.MaxUint64): "an accuracy is between",
			oip.String("nan"): share, oip.String("NaN"): share, oip.String("Inf"): share, oip.String("-infinity"): share, oip.String("0x1p-3"): share,
			oip.String("0.9_7"): share, oip.String("97%"): share, oip.String("0,97"): share, oip.String(""): share, oip.Bool(true): share, oip.Null(): "min_accuracy is null: " + share,
		},
		"deadline_ms": {
			oip.Int(0): left, oip.Int(-5): left, oip.String("1_000"): `deadline_ms is "1_000": ` + left, oip.String("0x1p-3"): left, oip.String("NaN"): left, oip.String("inf"): left,
			oip.String("50ms"): left, oip.String(""): left, oip.Bool(true): left, oip.Null(): "deadline_ms is null: " + left,
		},
		"timeout": {
			oip.Int(-1): whole, oip.Float(1.5): whole, oip.String("1_000"): whole, oip.String("0x10"): whole, oip.String("5ms"): whole, oip.Bool(false): whole, oip.Null(): "timeout is null: " + whole,
			oip.Uint(math.MaxUint64): whole,
		},
		"accuracy_confidence": {
			oip.Int(95): "did you mean 0.95?", oip.Float(1): "at most 0.999", oip.Float(-0.5): "above 0", oip.String("NaN"): "a number between 0 and 1", oip.Bool(true): "a number between 0 and 1",
			oip.Null(): "a number between 0 and 1", oip.String(""): "a number between 0 and 1",
		},
		"late": {
			oip.String(""): `it must be "drop" or "run"`, oip.String("Run"): `late is "Run": it must be`, oip.Bool(true): "late is true: it must be", oip.Int(1): "late is 1", oip.Null(): "late is null",
		},
	} {
		for value, want := range cases {
			_, err := objective(oip.Parameters{{Name: name, Value: value}}, http.Header{}, arrived, 0)
			if slo.KindOf(err) != slo.KindInvalid || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %v: %v, want %q", name, value, err, want)
			}
		}
	}
	for _, value := range []oip.Value{oip.String(""), oip.String(" "), oip.String("image,"), oip.Int(1), oip.Bool(true), oip.Null()} {
		if set, err := choice(oip.Parameters{{Name: "modalities", Value: value}}, scene().Model, carried{union: 7, every: 7}, false); slo.KindOf(err) != slo.KindInvalid || err == nil {
			t.Errorf("modalities %v: %v, %v", value, set, err)
		}
	}
	for header, values := range map[string][]string{headerMinAccuracy: {"97", "", "nan", "0.9, 0.8"}, headerDeadline: {"", "1_000", "0", "5, 6"}} {
		for _, value := range values {
			// The second of two header lines counts like the first.
			for _, lines := range [][]string{{value}, {"0.5", value}} {
				if o, err := objective(nil, http.Header{header: lines}, arrived, 0); slo.KindOf(err) != slo.KindInvalid || err == nil {
					t.Errorf("header %s %q: %+v, %v", header, lines, o, err)
				}
			}
		}
	}
}

// TestAnswersSayWhatWasUnderstood has objectives with what answers repeat of them.
func TestAnswersSayWhatWasUnderstood(t *testing.T) {
	for _, tt := range []struct {
		goal slo.Objective
		want oip.Parameters
	}{
		{slo.Objective{Deadline: slo.Never}, nil},
		{slo.Objective{Floor: 970_000, Deadline: slo.Never}, oip.Parameters{{Name: "min_accuracy", Value: oip.Float(0.97)}}},
		{slo.Objective{Deadline: arrived.Add(50 * time.Millisecond)}, oip.Parameters{{Name: "deadline_ms", Value: oip.Int(50)}}},
		{slo.Objective{Floor: slo.AccuracyUnit, Deadline: arrived.Add(12_345_678)}, oip.Parameters{{Name: "min_accuracy", Value: oip.Float(1)}, {Name: "deadline_ms", Value: oip.Float(12.346)}}},
	} {
		if got := understood(nil, tt.goal, arrived); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.goal, got, tt.want)
		}
	}
}

func TestFactsOfAMixedJob(t *testing.T) {
	m := scene().Model
	variants := slices.Concat(slices.Repeat([]int{3}, 8), slices.Repeat([]int{0}, 24))
	got := facts(m, engine.Response{Job: "j-7", Variants: variants, Modalities: 7, ExpectedAccuracy: 807_500, Outcome: slo.Late,
		Queue: 1500 * time.Nanosecond, Compute: 2 * time.Second})
	want := oip.Parameters{{Name: "job", Value: oip.String("j-7")}, {Name: "variant", Value: oip.String("image:24,all:8")}, {Name: "modalities", Value: oip.String("image,audio,text")},
		{Name: "expected_accuracy", Value: oip.Float(0.8075)}, {Name: "queue_us", Value: oip.Int(1)}, {Name: "compute_us", Value: oip.Int(2_000_000)},
		{Name: "late", Value: oip.Bool(true)}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for _, p := range want {
		if http.CanonicalHeaderKey(factHeaders[p.Name]) != factHeaders[p.Name] || factHeaders[p.Name] == "" {
			t.Errorf("the header for %s is %q, which is not in canonical form", p.Name, factHeaders[p.Name])
		}
	}
}
