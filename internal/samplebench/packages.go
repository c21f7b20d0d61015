package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/profiler"
	"github.com/mosel-serve/mosel/internal/runtime"
	"github.com/mosel-serve/mosel/internal/runtime/ort"
)

// recipe is how a package is made of a shipped one.
type recipe struct {
	name     string
	from     string // the shipped package
	variants []string
	labelled string      // the shipped package whose profile set is used; "": its own
	edits    [][2]string // of mosel.yaml: what is replaced by what
	graph    string      // a gate's graph, as a file of the directory of gates; "": none
	gate     string      // its lines of mosel.yaml: the variant, then the gate
	like     string      // a variant beside which the gate's network is timed
	plain    bool        // the gate's network is a variant like the others
}

// variantLine is a variant in a shipped mosel.yaml.
var variantLine = regexp.MustCompile(`(?m)^  - \{name: (\w+), modalities: .*\n`)

// stageLine is a stage in a shipped mosel.yaml.
var stageLine = regexp.MustCompile(`(?m)^  - \{name: (\w+), path: .*\n`)

// stagesOf are the stages of a variant's line.
var stagesOf = regexp.MustCompile(`stages: \[([\w, ]*)\]`)

// text returns a recipe's mosel.yaml.
func (r *recipe) text(shipped string) (string, error) {
	lines := map[string]string{}
	for _, found := range variantLine.FindAllStringSubmatch(shipped, -1) {
		lines[found[1]] = found[0]
	}
	var kept strings.Builder
	kept.WriteString("variants:\n")
	variant, gate, _ := strings.Cut(r.gate, "\n")
	if r.graph != "" {
		kept.WriteString(variant + "\n")
	}
	for _, name := range r.variants {
		if lines[name] == "" {
			return "", fmt.Errorf("the package %s has no variant %s", r.from, name)
		}
		kept.WriteString(lines[name])
	}
	var used []string
	for _, found := range stagesOf.FindAllStringSubmatch(kept.String(), -1) {
		used = append(used, strings.Split(found[1], ", ")...)
	}
	shipped = stageLine.ReplaceAllStringFunc(shipped, func(line string) string {
		if slices.Contains(used, stageLine.FindStringSubmatch(line)[1]) {
			return line
		}
		return ""
	})
	text := strings.Replace(variantLine.ReplaceAllString(shipped, ""), "variants:\n", kept.String(), 1)
	for _, e := range r.edits {
		if !strings.Contains(text, e[0]) {
			return "", fmt.Errorf("the package %s has no %q", r.from, e[0])
		}
		text = strings.ReplaceAll(text, e[0], e[1])
	}
	if r.graph != "" && !r.plain {
		text += "\ngates:\n" + gate + "\n"
	}
	return text, nil
}

// build puts a package together and loads it.
func (b *bench) build(r *recipe) (*modelpkg.Model, error) {
	from, dir := filepath.Join(b.models, r.from), filepath.Join(b.work, r.name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return nil, err
	}
	for _, other := range []string{"profiles", "samples", "README.md"} {
		if err := os.RemoveAll(filepath.Join(dir, other)); err != nil {
			return nil, err
		}
	}
	if r.labelled != "" {
		if err := copyFile(filepath.Join(b.models, r.labelled, "eval", "profile.npz"), filepath.Join(dir, "eval", "profile.npz")); err != nil {
			return nil, err
		}
	}
	if r.graph != "" {
		if err := copyFile(filepath.Join(b.gates, r.graph), filepath.Join(dir, "onnx", r.graph)); err != nil {
			return nil, err
		}
	}
	shipped, err := os.ReadFile(filepath.Join(from, modelpkg.FileName))
	if err != nil {
		return nil, err
	}
	text, err := r.text(string(shipped))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), []byte(text), 0o644); err != nil {
		return nil, err
	}
	return modelpkg.Load(dir)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// profile profiles a package. With measured, answers and times are those of a package
// that has the same variants and more. Else they are those of the shipped profile, as far
// as it has them, and further answers are computed, once.
func (b *bench) profile(ctx context.Context, r *recipe, m *modelpkg.Model, measured *profiler.Result) (*profiler.Result, error) {
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.Profile), m)
	if err != nil {
		return nil, err
	}
	o := profiler.Default()
	o.Device, o.Threads = "cpu", 1
	if measured != nil {
		if o.Timed, o.Answers, err = part(m, measured.Profile, measured.Samples); err != nil {
			return nil, err
		}
	} else {
		if o.Timed, o.Answers, err = b.shipped(ctx, r, m, set); err != nil {
			return nil, err
		}
		origin := modelpkg.Origin{ModelDigest: m.Digest, DatasetDigest: set.Digest, Runtime: b.rt.Name(), RuntimeVersion: b.rt.Version()}
		path := filepath.Join(b.work, m.Name+".samples.npz")
		if known, err := modelpkg.LoadSamples(m, origin, path); err == nil {
			o.Answers = known
		}
		o.Keep = func(s *modelpkg.Samples) error { return s.Save(m, path) }
	}
	open := func(ctx context.Context) (runtime.Runtime, error) {
		return ort.Open(ctx, ort.Config{Progress: os.Stderr})
	}
	return profiler.Run(ctx, open, m, set, o)
}

// part returns those times and answers of a profile that are of a model's variants.
func part(m *modelpkg.Model, of *modelpkg.Profile, answers *modelpkg.Samples) (*modelpkg.Profile, *modelpkg.Samples, error) {
	timed := *of
	timed.Variants, timed.Stages = nil, nil
	samples := *answers
	samples.Estimates = map[string][]float64{}
	maps.Copy(samples.Estimates, answers.Estimates)
	samples.Variants = map[string]modelpkg.VariantSamples{}
	for _, v := range m.Variants {
		at := slices.IndexFunc(of.Variants, func(p modelpkg.VariantProfile) bool { return p.Name == v.Name })
		if at < 0 {
			return nil, nil, fmt.Errorf("variant %s was not measured", v.Name)
		}
		timed.Variants = append(timed.Variants, of.Variants[at])
		if known, ok := answers.Variants[v.Declared()]; ok {
			samples.Variants[v.Declared()] = known
		}
	}
	runs, _ := m.StageRuns()
	for _, run := range runs {
		at := slices.IndexFunc(of.Stages, func(s modelpkg.StageProfile) bool { return s.Name == run.Name })
		if at < 0 {
			timed.Stages = nil // then what is left of a variant is not known, which costs more
			break
		}
		timed.Stages = append(timed.Stages, of.Stages[at])
	}
	return &timed, &samples, nil
}
