package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/profiler"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

// measured is a profile as one of a real model might be, and its model.
func measured() (*modelpkg.Model, *modelpkg.Profile) {
	m := &modelpkg.Model{
		Dir: "digits", Name: "digits", Version: "1", Digest: "sha256:x",
		Modalities: []modelpkg.Modality{{Name: "image"}, {Name: "audio"}, {Name: "text"}},
		Variants: []modelpkg.Variant{
			{Name: "text", Modalities: 4, Precision: "fp32"}, {Name: "audio", Modalities: 2, Precision: "fp32"},
			{Name: "all", Modalities: 7, Precision: "fp32"}, {Name: "all_int8", Modalities: 7, Precision: "int8"},
		},
		Limits: modelpkg.Limits{BatchItemsMax: 32},
	}
	p := &modelpkg.Profile{
		Format: 1, Model: "digits", ModelVersion: "1", ModelDigest: "sha256:x", Device: "cpu", DeviceDetail: "some processor", Threads: 1,
		Runtime: "onnxruntime", RuntimeVersion: "1.30.0", Created: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
		Dataset: "eval/profile.npz", Samples: 2000,
	}
	for i, v := range []struct {
		correct int
		ms      float64
		bytes   int64
	}{{1600, 0.2, 3 << 20}, {1580, 4, 0}, {1990, 5, 47 << 20}, {1985, 3.5, 40 << 20}} {
		p.Variants = append(p.Variants, modelpkg.VariantProfile{
			Name: m.Variants[i].Name, Modalities: m.Variants[i].Modalities.Names(m.ModalityNames()), Precision: m.Variants[i].Precision,
			Accuracy: modelpkg.MeasuredAccuracy(v.correct, 2000),
			Batches: []modelpkg.BatchProfile{
				{Items: 1, P50MS: v.ms + 1, P95MS: v.ms + 2, Runs: 10},
				{Items: 4, P50MS: 4*v.ms + 1, P95MS: 4*v.ms + 2, Runs: 10},
				{Items: 32, P50MS: 32*v.ms + 1, P95MS: 32*v.ms + 2, MemoryBytes: v.bytes, Runs: 10},
			},
		})
	}
	return m, p
}

func TestProfileTable(t *testing.T) {
	m, p := measured()
	got, err := profileTable(m, p)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "profile.txt")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
}

// TestProfileTableOfLengths checks that the table shows the sizes that the times were measured with.
func TestProfileTableOfLengths(t *testing.T) {
	m, p := measured()
	p.Lengths = map[string]int64{"ids": 40}
	got, err := profileTable(m, p)
	if err != nil || !strings.Contains(got, "times were measured with ids of size 40\n") {
		t.Errorf("%v\n%s", err, got)
	}
}

// TestProfileTableOfStages checks that the table shows the stages' times, and which
// variants were not measured as a whole.
func TestProfileTableOfStages(t *testing.T) {
	m, p := measured()
	p.Stages = []modelpkg.StageProfile{{Name: "encoder", Batches: p.Variants[0].Batches}, {Name: "head", Batches: p.Variants[1].Batches}}
	p.Variants[0].Sum, p.Variants[2].Sum = &modelpkg.StageSum{Used: true, Off: 0.0312}, &modelpkg.StageSum{Off: -0.2}
	got, err := profileTable(m, p)
	const want = `
    stage  ms/item, batch 1  batch 4  batch 32
  encoder             1.200    0.450     0.231
     head             5.000    4.250     4.031
times that are sums of stages, and how much these differ from the whole variant: text (+3.1 %)
measured whole, because the sum of the stages differs too much: all (-20.0 %)
`
	if err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("%v, got\n%s\nwant at the end\n%s", err, got, want)
	}
}

func TestPrintProfileJSON(t *testing.T) {
	m, p := measured()
	var out bytes.Buffer
	if err := printProfile(&out, m, p, "-"); err != nil {
		t.Fatal(err)
	}
	var back modelpkg.Profile
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Device != "cpu" || len(back.Variants) != 4 {
		t.Errorf("standard output is not the profile alone: %v\n%s", err, out.String())
	}
	file := filepath.Join(t.TempDir(), "p.json")
	out.Reset()
	if err := printProfile(&out, m, p, file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil || !strings.Contains(out.String(), "ms/item") {
		t.Errorf("%v, and the table is\n%s", err, out.String())
	}
}

func TestDrawProfile(t *testing.T) {
	m, p := measured()
	file := filepath.Join(t.TempDir(), "p.svg")
	if err := drawProfile(m, p, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), ">all_int8<") || !strings.Contains(string(text), "digits on cpu") {
		t.Errorf("%v, %d bytes", err, len(text))
	}
}

// TestProgressInALog checks that what is no terminal gets no bar.
func TestProgressInALog(t *testing.T) {
	var log bytes.Buffer
	line := newProgressLine(&log)
	line.show(profiler.Progress{Stage: "accuracy", Share: 0.25})
	if log.Len() > 0 {
		t.Errorf("a line at once: %q", log.String())
	}
	line.last = line.last.Add(-plainEvery)
	line.show(profiler.Progress{Stage: "latency", Share: 0.5, Left: 90 * time.Second})
	line.end()
	if got := log.String(); got != " 50 %  latency, 1m30s left\n" {
		t.Errorf("%q", got)
	}
}

// runMosel runs a command line and returns what it printed.
func runMosel(args ...string) (string, error) {
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(joinJSON(args))
	err := root.Execute()
	return out.String(), err
}

func TestCheckCommand(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, modelpkg.FileName)
	if err := os.WriteFile(file, []byte("format: 1\nname: x y\nlimit: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := runMosel("check", dir)
	if err == nil || err.Error() != dir+" has 5 problems" || exitCode(err) != 1 {
		t.Errorf("error: %v", err)
	}
	if want := file + `:3:1: the package has no key "limit"; did you mean "limits"?` + "\n"; !strings.Contains(out, want) {
		t.Errorf("got\n%s\nwant in it\n%s", out, want)
	}
}

func TestCommandMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"check"}, 2, "name one model package"},
		{[]string{"profile", "a", "b"}, 2, "name one model package"},
		{[]string{"profile", "x", "--plot", "x.jpg"}, 2, "must end in .svg or .png"},
		{[]string{"profile", "nothing-here"}, 1, "no such model package"},
		{[]string{"check", "nothing-here"}, 1, "has 1 problem"},
		{[]string{"profile", "x", "--thread", "2"}, 2, "unknown flag"},
	} {
		if _, err := runMosel(c.args...); err == nil || exitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: exit %d, %v; want %d, %q", c.args, exitCode(err), err, c.code, c.want)
		}
	}
}
