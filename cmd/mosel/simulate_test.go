package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/plan"
	"github.com/mosel-serve/mosel/internal/scenario"
)

const tinyScenario = `format: 1
description: a tiny one
duration: 2s
models:
  - name: m
    modalities: [a, b]
    variants:
      - {name: a, modalities: [a], accuracy: 0.8, item_ms: 1}
      - {name: both, modalities: [a, b], accuracy: 0.9, item_ms: 5}
deadline: 50ms
floor: 0.75
loads: [50, 100]
`

func TestSimulate(t *testing.T) {
	tiny := file(t, "tiny.yaml", []byte(tinyScenario))
	dir := t.TempDir()
	document := file(t, "doc.md", []byte("# A\n<!-- begin tiny -->\n<!-- end tiny -->\n"))
	result := filepath.Join(dir, "result.json")
	out, err := command(t, "simulate", tiny, "--json", result, "--plot", filepath.Join(dir, "pictures"), "--markdown", document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(plan.Policies(), "a tiny one", "fluid bound", "JCT mean ms", "misses its rule") {
		if !strings.Contains(out, want) {
			t.Errorf("the table lacks %q:\n%s", want, out)
		}
	}
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	var r scenario.Result
	if err := json.Unmarshal(text, &r); err != nil || len(r.Cells) != 2*len(plan.Policies()) || len(r.Capacity) != len(plan.Policies()) {
		t.Errorf("%d cells, %d capacities, %v", len(r.Cells), len(r.Capacity), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pictures", "tiny.svg")); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(document); !strings.Contains(string(text), "| tiny | 50 |") || !strings.Contains(string(text), "tiny.svg)") {
		t.Errorf("the document: %s", text)
	}
	again, err := command(t, "simulate", tiny, "--json")
	if err != nil || again != string(text) {
		t.Errorf("the terminal gets other bytes than the file, %v", err)
	}
}

func TestSimulateMistakes(t *testing.T) {
	tiny := file(t, "tiny.yaml", []byte(tinyScenario))
	first := plan.Policies()[0]
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"--policy", "al"}, "choose one of"},
		{[]string{"--policy", first + "," + first}, "twice"},
		{[]string{"--load", "0"}, "--load"},
		{[]string{"--load", "1e9"}, "--load"},
		{[]string{"--load", "5,5"}, "twice"},
		{[]string{"--duration", "-1s"}, "--duration"},
	} {
		if _, err := command(t, append([]string{"simulate", tiny}, c.args...)...); !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%q: %v, want %q", c.args, err, c.say)
		}
	}
	bad := file(t, "bad.yaml", []byte(strings.Replace(tinyScenario, "floor", "flor", 1)))
	if _, err := command(t, "simulate", bad); err == nil || !strings.Contains(err.Error(), `bad.yaml:11:1: the scenario has no key "flor"; did you mean "floor"?`) {
		t.Errorf("a wrong key: %v", err)
	}
	if _, err := command(t, "simulate", tiny, "--markdown", bad); err == nil || !strings.Contains(err.Error(), "begin tiny") {
		t.Errorf("no section: %v", err)
	}
}
