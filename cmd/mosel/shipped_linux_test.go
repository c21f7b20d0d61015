package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/replay"
)

// TestShippedPackages: every package in models/ passes the check, has a profile of its
// own graphs, and says where it comes from.
func TestShippedPackages(t *testing.T) {
	needRuntime(t)
	found, err := filepath.Glob(filepath.FromSlash("../../models/*/" + modelpkg.FileName))
	if err != nil || len(found) < 2 {
		t.Fatalf("%q, %v", found, err)
	}
	for _, file := range found {
		dir := filepath.Dir(file)
		out, err := runMosel("check", dir)
		if err != nil || !strings.Contains(out, "is valid") || !strings.Contains(out, "run on samples") {
			t.Errorf("%s: %v\n%s", dir, err, out)
			continue
		}
		m, err := modelpkg.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := modelpkg.FindProfile(m, "cpu")
		if err != nil {
			t.Error(err)
		} else if _, err := modelpkg.LoadSamples(m, p.Origin(), m.SamplesPath("cpu")); err != nil {
			t.Error(err)
		}
		if m.Name != filepath.Base(dir) || m.Evaluation.HeldOut == "" {
			t.Errorf("%s is named %s and has the held-out set %q", dir, m.Name, m.Evaluation.HeldOut)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || !strings.Contains(string(text), "## Sources") {
			t.Errorf("%s: the README does not name its sources (%v)", dir, err)
		}
	}
}

// planned is what `mosel plan --json` says of a job.
type planned struct {
	Strategy         map[string]int `json:"strategy"`
	PredictedMS      float64        `json:"predicted_ms"`
	AllMS            float64        `json:"all_ms"`
	ExpectedAccuracy float64        `json:"expected_accuracy"`
}

// planOf plans a job for the shipped model of sentiment.
func planOf(t *testing.T, dir string, floor float64) (p planned) {
	t.Helper()
	out, err := runMosel("plan", dir, "--device", "cpu", "--size", "32", "--min-accuracy", fmt.Sprint(floor), "--confidence", paperConfidence, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &p)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

// replayedAt serves the package in a process of its own, with the policy that never
// spends more than the floor asks for, and sends every held-out sample once.
func replayedAt(t *testing.T, dir string, floor float64, samples int) replay.Report {
	t.Helper()
	mosel, err := program()
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	out, err := exec.CommandContext(t.Context(), mosel, "replay", dir, "--policies", "aggressive", "--process", "constant", "--rate", fmt.Sprint(samples),
		"--duration", "1s", "--warmup", "0s", "--job-size", "4", "--min-accuracy", fmt.Sprint(floor), "--confidence", paperConfidence, "--deadline", "0", "--late", "run", "--json", report).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var doc replay.Document
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Runs[0].Report
}

// TestPaperTask is the task of the MOSEL paper: sentiment from text, pictures and sound,
// judged by its sign, for three accuracy targets. Each target is planned, and then served
// on held-out samples; the interval of the measured score must not lie below the target.
func TestPaperTask(t *testing.T) {
	needRuntime(t)
	dir := filepath.FromSlash("../../models/sentiment")
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := replay.HeldOut(dir)
	if err != nil || m.Scoring.Name() != "sign" {
		t.Fatalf("metric %s, %v", m.Scoring.Name(), err)
	}
	before := 0.0
	for _, floor := range paperTargets {
		p := planOf(t, dir, floor)
		if p.ExpectedAccuracy < floor || p.PredictedMS <= before {
			t.Errorf("floor %v: %+v, after %v ms for the floor before", floor, p, before)
		}
		before = p.PredictedMS
		r := replayedAt(t, dir, floor, samples.Len())
		a := r.Accuracy
		t.Logf("floor %v: planned %v in %.1f ms, all modalities %.1f ms; measured %.4f (%.4f to %.4f), expected %.4f, ran %v",
			floor, p.Strategy, p.PredictedMS, p.AllMS, a.Measured, a.Low, a.High, a.Expected, r.Variants)
		// A request has samples of one bucket, so a few samples are sent twice and a few not at all.
		if r.Served.Items != samples.Len() || a.Samples < samples.Len()*95/100 || a.BelowFloor != 0 || a.Expected < floor {
			t.Errorf("floor %v: served %+v, accuracy %+v", floor, r.Served, a)
		}
		if a.High < floor {
			t.Errorf("floor %v: measured %.4f, at most %.4f", floor, a.Measured, a.High)
		}
	}
	if first := planOf(t, dir, paperTargets[0]); 2*first.PredictedMS > first.AllMS {
		t.Errorf("the first target takes %.1f ms, all modalities %.1f ms", first.PredictedMS, first.AllMS)
	}
}

// paperTargets are accuracy targets between the cheapest and the best variant, which
// lower bounds at paperConfidence must reach.
var paperTargets = []float64{0.80, 0.83, 0.87}

const paperConfidence = "0.95"
