package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// graphs writes a directory with one graph of x, and samples of it.
func graphsDir(t *testing.T, output func(g *modelpkgtest.Graph)) string {
	t.Helper()
	dir := packaged(t, single, graphOf(output))
	if err := os.Remove(filepath.Join(dir, modelpkg.FileName)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func graphOf(output func(g *modelpkgtest.Graph)) *modelpkgtest.Graph {
	var g modelpkgtest.Graph
	linear(&g)
	output(&g)
	return &g
}

// softmax ends a graph with probabilities.
func softmax(g *modelpkgtest.Graph) {
	g.Node("Softmax", []string{"y"}, []string{"p"}, modelpkgtest.Integer("axis", 1))
	g.Output("p", tensor.FP32, modelpkgtest.Batch, 2)
}

func TestInitWritesWhatCheckAccepts(t *testing.T) {
	needRuntime(t)
	dir := graphsDir(t, softmax)
	out, err := runMosel("init", dir, "--split", "0.5", "--name", "mine")
	if err != nil || !strings.Contains(out, "run on samples") || !strings.Contains(out, "8 samples to profile on") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := runMosel("check", dir); err != nil || !strings.Contains(out, "is valid: mine 1") {
		t.Errorf("%v\n%s", err, out)
	}
	before, err := os.ReadFile(filepath.Join(dir, modelpkg.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := runMosel("init", dir, "--name", "other"); err == nil || !strings.Contains(err.Error(), "is there already and is not replaced") {
		t.Errorf("%v\n%s", err, out)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, modelpkg.FileName)); string(after) != string(before) {
		t.Error("the file was changed")
	}
}

func TestInitPrints(t *testing.T) {
	dir := graphsDir(t, softmax)
	out, err := runMosel("init", dir, "--output", "-", "--no-run")
	if err != nil || !strings.Contains(out, "\nmetric: accuracy\n") || exists(filepath.Join(dir, modelpkg.FileName)) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = runMosel("init", dir, "--json", "--no-run", "--output", filepath.Join(dir, "draft.yaml"))
	var report struct {
		Wrote  string
		Graphs []struct {
			File   string
			Inputs []struct {
				Name, Datatype string
				Shape          []int64
			}
		}
		Metric    struct{ Metric string }
		Decisions []any
	}
	if jsonErr := json.Unmarshal([]byte(out), &report); err != nil || jsonErr != nil {
		t.Fatalf("%v %v\n%s", err, jsonErr, out)
	}
	if report.Metric.Metric != "accuracy" || len(report.Graphs) != 1 || report.Graphs[0].Inputs[0].Name != "x" || report.Decisions == nil || !exists(report.Wrote) {
		t.Errorf("%s", out)
	}
}

func TestInitWritesNothingWhereSomethingIsOpen(t *testing.T) {
	needRuntime(t)
	for name, c := range map[string]struct {
		output func(*modelpkgtest.Graph)
		says   string
	}{
		"a decision": {func(g *modelpkgtest.Graph) { g.Output("nothing", tensor.Int64, modelpkgtest.Batch) }, "no metric can score"},
		"what the runtime says": {func(g *modelpkgtest.Graph) {
			g.Node("Unheard", []string{"y"}, []string{"p"})
			g.Output("p", tensor.FP32, modelpkgtest.Batch, 2)
		}, "m.onnx: variant x: the graph has an operator that ONNX Runtime does not know"},
		"a batch in pieces": {func(g *modelpkgtest.Graph) {
			g.Node("Softmax", []string{"y"}, []string{"p"}, modelpkgtest.Integer("axis", 0))
			g.Output("p", tensor.FP32, modelpkgtest.Batch, 2)
		}, "depends on the other items of its batch"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := graphsDir(t, c.output)
			out, err := runMosel("init", dir, "--split", "0.5")
			if err == nil || !strings.Contains(out, c.says) || exitCode(err) != 1 {
				t.Errorf("%v\n%s", err, out)
			}
			if strings.Contains(out, "was split") {
				t.Errorf("it says that it has split the samples: %s", out)
			}
			if draft, _ := runMosel("init", dir, "--output", "-"); !strings.Contains(draft, "format: 1") || !strings.Contains(draft, c.says) {
				t.Errorf("the draft: %s", draft)
			}
			if exists(filepath.Join(dir, modelpkg.FileName)) || exists(filepath.Join(dir, "eval", "profile.npz")) {
				t.Error("something was written")
			}
		})
	}
}

func TestInitUsage(t *testing.T) {
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		says string
		code int
	}{
		{[]string{"init"}, "name one directory", 2},
		{[]string{"init", empty, "--split", "1"}, "above 0 and below 1", 2},
		{[]string{"init", empty, "--split", "0.5", "--output", "-"}, "leave out one", 2},
		{[]string{"init", empty, "--heldout", "a.npz"}, "name both files", 2},
		{[]string{"init", empty, "--max", "ids"}, "INPUT=SIZE", 2},
		{[]string{"init", empty, "--shape", "x=3,-1"}, "TENSOR=SIZE", 2},
		{[]string{"init", empty}, "has no .onnx file", 1},
		{[]string{"init", filepath.Join(empty, "gone")}, "is not a directory", 1},
	} {
		if out, err := runMosel(c.args...); err == nil || !strings.Contains(err.Error(), c.says) || exitCode(err) != c.code {
			t.Errorf("%q: %v\n%s", c.args, err, out)
		}
	}
}
