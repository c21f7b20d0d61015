package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/replay"
	"github.com/mosel-serve/mosel/tensor"
)

// replayed serves the package in a process of its own and sends every held-out sample
// once.
func replayed(t *testing.T, dir string) (doc replay.Document, table string) {
	t.Helper()
	mosel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	out, err := exec.CommandContext(t.Context(), mosel, "replay", dir, "--policies", "mosel", "--process", "constant", "--rate", fmt.Sprint(2*scoredSamples),
		"--duration", "500ms", "--warmup", "0s", "--deadline", "0", "--late", "run", "--json", report).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc, string(out)
}

// TestReplayOfEveryMetric: the score of served answers is that which is computed here.
func TestReplayOfEveryMetric(t *testing.T) {
	needRuntime(t)
	for _, s := range scoredModels {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			_, _, y := products(s.columns)
			l := s.label(y, rand.New(rand.NewPCG(5, 5)))
			s.write(t, dir, l)
			p, _ := profiled(t, dir)
			doc, table := replayed(t, dir)
			want := 0.0
			for i := range y {
				want += s.score(y[i], l, i) / scoredSamples
			}
			a := doc.Runs[0].Report.Accuracy
			if a.Items != scoredSamples || a.Samples != scoredSamples || math.Abs(a.Measured-want) > 1e-6 || math.Abs(a.Expected-want) > 1e-6 || a.ExpectedIs != "within" {
				t.Errorf("measured %+v, computed %v", a, want)
			}
			if doc.Metric != p.Metric || !strings.Contains(table, "measured "+p.Metric) {
				t.Errorf("the report does not name %q:\n%s", p.Metric, table)
			}
		})
	}
}

// externalModel has a graph of anything and scores that a script wrote.
var externalModel = scoredModel{metric: "external", columns: 2, shape: []int{2}, after: operator("Identity")}

// TestExternalMetric: scores are read from files, anew each time, and replaying says
// that it cannot measure them.
func TestExternalMetric(t *testing.T) {
	needRuntime(t)
	dir := t.TempDir()
	externalModel.write(t, dir, labels{})
	out, err := runMosel("profile", dir, "--quick", "--batches", "1,8", "--device", "test")
	if err == nil || !strings.Contains(err.Error(), "scores/v.npy: no such file or directory; with the metric external, write one score") {
		t.Fatalf("without scores: %v\n%s", err, out)
	}
	scores := make([]float64, scoredSamples)
	save := func() (mean float64) {
		var data []byte
		for _, s := range scores {
			mean += s / scoredSamples
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(s))
		}
		header := fmt.Sprintf("{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }\n", len(scores))
		file := append([]byte("\x93NUMPY\x01\x00"), binary.LittleEndian.AppendUint16(nil, uint16(len(header)))...)
		if err := os.MkdirAll(filepath.Join(dir, "scores"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "scores", "v.npy"), append(append(file, header...), data...), 0o600); err != nil {
			t.Fatal(err)
		}
		return mean
	}
	for i := range scores {
		scores[i] = 0.5 + float64(i%5)/10
	}
	mean := save()
	p, out := profiled(t, dir)
	a := p.Variants[0].Accuracy
	if math.Abs(a.Mean-mean) > 1e-6 || a.Interval != "betting" || a.Low >= mean || a.High <= mean || p.Variants[0].Statistics != nil || strings.Contains(out, "samples.npz") {
		t.Errorf("%+v, want %v\n%s", a, mean, out)
	}
	scores[3] = 0
	mean = save()
	if p, _ = profiled(t, dir); math.Abs(p.Variants[0].Accuracy.Mean-mean) > 1e-6 {
		t.Errorf("with another score: %v, want %v", p.Variants[0].Accuracy.Mean, mean)
	}
	doc, table := replayed(t, dir)
	r := doc.Runs[0].Report
	if r.Accuracy.Items != 0 || r.Served.Items != scoredSamples || math.Abs(r.Accuracy.Expected-mean) > 1e-6 || doc.Unmeasured == "" ||
		!strings.Contains(table, "The metric is external: scores come from files and cannot be measured while replaying.") {
		t.Errorf("replayed: %+v\n%s", r.Accuracy, table)
	}
}

// TestCheckScoresAnswers: check runs the graphs and tells answers that the metric
// cannot score.
func TestCheckScoresAnswers(t *testing.T) {
	needRuntime(t)
	dir := t.TempDir()
	s := scoredModel{metric: "binary", columns: 1, shape: []int{1}, after: operator("Identity")}
	zeros := make([]uint8, scoredSamples)
	s.write(t, dir, labels{arrays: []tensor.Tensor{{Name: "label", DType: tensor.Uint8, Shape: tensor.Shape{scoredSamples}, Data: zeros}}})
	out, err := runMosel("check", dir)
	if err == nil || !strings.Contains(out, "m.onnx: variant v: the answer to sample ") || !strings.Contains(out, "which is no probability; give the metric values: logit in mosel.yaml") {
		t.Errorf("%v\n%s", err, out)
	}
}
