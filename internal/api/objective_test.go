package api

import (
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
)

// arrived is a time on no clock in particular.
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
		{"per mille", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(972)}}, [2]string{}, slo.Objective{Floor: 972_000, Deadline: slo.Never}},
		{"per mille as a string", oip.Parameters{{Name: "min_accuracy", Value: oip.String("972")}}, [2]string{}, slo.Objective{Floor: 972_000, Deadline: slo.Never}},
		{"2 per mille", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(2)}}, [2]string{}, slo.Objective{Floor: 2000, Deadline: slo.Never}},
		{"1000 per mille", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(1000)}}, [2]string{}, slo.Objective{Floor: slo.AccuracyUnit, Deadline: slo.Never}},
		{"1 is all", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(1)}}, [2]string{}, slo.Objective{Floor: slo.AccuracyUnit, Deadline: slo.Never}},
		{"1.0 is all", oip.Parameters{{Name: "min_accuracy", Value: num(1)}}, [2]string{}, slo.Objective{Floor: slo.AccuracyUnit, Deadline: slo.Never}},
		{"0 is none", oip.Parameters{{Name: "min_accuracy", Value: oip.Int(0)}}, [2]string{}, slo.Objective{Deadline: slo.Never}},
		{"floor in the header", nil, [2]string{"0.9"}, slo.Objective{Floor: 900_000, Deadline: slo.Never}},
		{"the higher floor, in the header", oip.Parameters{{Name: "min_accuracy", Value: num(0.5)}}, [2]string{"900"}, slo.Objective{Floor: 900_000, Deadline: slo.Never}},
		{"the higher floor, as a parameter", oip.Parameters{{Name: "min_accuracy", Value: num(0.95)}}, [2]string{"900"}, slo.Objective{Floor: 950_000, Deadline: slo.Never}},
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
		got, err := objective(tt.params, header, arrived)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestFactsOfAMixedJob(t *testing.T) {
	m := scene().Model
	variants := slices.Concat(slices.Repeat([]int{3}, 8), slices.Repeat([]int{0}, 24))
	got := facts(m, engine.Response{Job: 7, Variants: variants, Modalities: 7, ExpectedAccuracy: 807_500, Outcome: slo.Late,
		Queue: 1500 * time.Nanosecond, Compute: 2 * time.Second})
	want := oip.Parameters{{Name: "job", Value: oip.String("7")}, {Name: "variant", Value: oip.String("image:24,all:8")}, {Name: "modalities", Value: oip.String("image,audio,text")},
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
