package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/scenario"
)

// TestCheck runs a short load and looks for its line.
func TestCheck(t *testing.T) {
	var out bytes.Buffer
	short, err := check(t.Context(), options{files: []string{"../../scenarios/trace.yaml"}, seeds: 2, duration: 10 * time.Second}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "trace: ") || !strings.Contains(out.String(), "of 14 cells") || short < 0 {
		t.Errorf("%d cells fall short:\n%s", short, out.String())
	}
	if _, err := check(context.Background(), options{files: []string{"none.yaml"}, seeds: 1}, &out); err == nil {
		t.Error("a file that does not exist is no error")
	}
}

// TestAdd checks which cells are printed.
func TestAdd(t *testing.T) {
	r := scenario.Result{Scenario: "s", Seed: 2, Policies: []string{"mosel", "all"}, Cells: []scenario.Cell{{Policy: "mosel"}, {Policy: "all"}},
		Comparison: []scenario.Verdict{{Group: "a", Load: 5, Best: "all", LateExcess: 0.01}, {Group: "b", LateExcess: 0.001},
			{Group: "c", Load: 6, Rival: "all", AccuracyShort: 0.002}}}
	var out bytes.Buffer
	var s sum
	s.add(&out, &r)
	want := "  s, seed 2, a at 5/s: 1.00 points later than all\n  s, seed 2, c at 6/s: 0.0020 less accurate than all\n"
	if s.short != 2 || s.cells != 1 || out.String() != want {
		t.Errorf("%+v\n%s", s, out.String())
	}
}
