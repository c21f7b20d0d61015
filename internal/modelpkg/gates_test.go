package modelpkg

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

const gateYAML = "gates: [{variant: image, output: right, chooses: [image, all]}]\n"

// gatedPackage writes a package whose variant image is a gate.
func gatedPackage(t *testing.T, yaml string) string {
	t.Helper()
	dir := writePackage(t)
	right := value{"right", 1, []int64{-1, 2}}
	write(t, dir, "onnx/image.onnx", graphSpec{17, []value{imageIn}, []value{scores, right}, nil, nil}.encode())
	write(t, dir, FileName, []byte(goodYAML+yaml))
	return dir
}

func TestGate(t *testing.T) {
	m, err := Load(gatedPackage(t, gateYAML))
	if err != nil {
		t.Fatal(err)
	}
	want := Gate{Variant: 0, Output: Spec{Name: "right", DType: tensor.FP32, Shape: tensor.Shape{2}}, Choices: []int{0, 1}}
	if g := m.GateOf(0); g == nil || !reflect.DeepEqual(*g, want) || m.GateOf(1) != nil {
		t.Errorf("gates %+v", m.Gates)
	}
	if got := m.OutputsOf(0); len(got) != 2 || got[1].Name != "right" || len(m.OutputsOf(1)) != 1 || len(m.Outputs) != 1 {
		t.Errorf("outputs %v and %v", got, m.OutputsOf(1))
	}
	if steps, _ := m.StepsOf(0); !slices.Equal(steps[0].Outputs, []string{"scores", "right"}) {
		t.Errorf("the graph's outputs are %v", steps[0].Outputs)
	}
}

func TestGateProblems(t *testing.T) {
	for yaml, want := range map[string]string{
		`gates: [{variant: imge, output: right, chooses: [image, all]}]`:                                     `the model has no variant "imge"; did you mean "image"?`,
		`gates: [{variant: image, output: right, chooses: [image, al]}]`:                                     `the model has no variant "al"; did you mean "all"?`,
		`gates: [{variant: image, output: right, chooses: [all, all]}]`:                                      `the variant "all" occurs twice`,
		`gates: [{variant: image, output: right, chooses: [image]}]`:                                         `the gate image chooses only itself`,
		`gates: [{variant: image, output: scores, chooses: [image, all]}]`:                                   `the gate's output "scores" is one of the model's outputs`,
		`gates: [{variant: image, output: left, chooses: [image, all]}]`:                                     `onnx/image.onnx has no output "left"; it has scores, right`,
		`gates: [{variant: all, output: right, chooses: [image, all]}]`:                                      `onnx/all.onnx has no output "right"`,
		`gates: [{variant: image, output: right, chooses: []}]`:                                              `chooses: the list is empty`,
		strings.TrimSpace(gateYAML)[:len(gateYAML)-2] + `, {variant: image, output: right, chooses: [all]}]`: `the gate "image" occurs twice`,
	} {
		dir := gatedPackage(t, yaml+"\n")
		if got := strings.Join(lines(dir, Check(dir)), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwant %s", yaml, got, want)
		}
	}
	dir := gatedPackage(t, `gates: [{variant: image, output: right, chooses: [image, all]}]`+"\n")
	write(t, dir, "onnx/image.onnx", graphSpec{17, []value{imageIn}, []value{scores, {"right", 1, []int64{-1, 3}}}, nil, nil}.encode())
	if got := strings.Join(lines(dir, Check(dir)), "\n"); !strings.Contains(got, "right is declared [2], but is [3] after the batch dimension") {
		t.Errorf("estimates of another size: %s", got)
	}
}

func TestChooseWay(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		estimates, penalties []float64
		want                 int
	}{
		{[]float64{0.9, 0.95, 0.99}, []float64{0, 0, 0}, 2},
		{[]float64{0.9, 0.95, 0.99}, []float64{0, 0.02, 0.1}, 1},
		{[]float64{0.9, 0.95, 0.99}, []float64{0, 0.06, 0.1}, 0},
		{[]float64{0.9, 0.9, 0.9}, []float64{0, 0, 0}, 0},   // equal: the first
		{[]float64{0.9, nan, 0.1}, []float64{0, 0.1, 1}, 2}, // the dearest
		{[]float64{nan, 0.9, 0.1}, []float64{0, 0.1, 0.05}, 1},
		{[]float64{math.Inf(-1), 0, math.Inf(1)}, []float64{0, 0, 1}, 2},
	} {
		if got := ChooseWay(c.estimates, c.penalties); got != c.want {
			t.Errorf("of %v less %v it chooses %d, want %d", c.estimates, c.penalties, got, c.want)
		}
	}
}

// TestSamplesKeepEstimates saves and loads the per-sample results of a gate.
func TestSamplesKeepEstimates(t *testing.T) {
	m, err := Load(gatedPackage(t, gateYAML))
	if err != nil {
		t.Fatal(err)
	}
	s := &Samples{Origin: Origin{ModelDigest: m.Digest}, Variants: map[string]VariantSamples{}, Estimates: map[string][]float64{"image": {0.25, 0.5, 0.75, 1}}}
	s.Labels.Width, s.Labels.Values = 1, []float64{0, 1}
	s.Variants["image"] = VariantSamples{Predicted: []int{0, 1}, Confidence: []float32{0.5, 1}}
	path := m.SamplesPath("test")
	if err := s.Save(m, path); err != nil {
		t.Fatal(err)
	}
	got, err := LoadSamples(m, s.Origin, path)
	if err != nil || !slices.Equal(got.Estimates["image"], s.Estimates["image"]) {
		t.Errorf("%v: %v", got, err)
	}
	delete(s.Estimates, "image")
	if err := s.Save(m, path); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSamples(m, s.Origin, path); err == nil || !strings.Contains(err.Error(), "gate image: it needs 2 estimates for every sample") {
		t.Errorf("without estimates: %v", err)
	}
}

func TestGatePointProblems(t *testing.T) {
	m, err := Load(gatedPackage(t, gateYAML))
	if err != nil {
		t.Fatal(err)
	}
	good := func() GatePoint {
		return GatePoint{Gate: "image", Price: 0.1, Accuracy: MeasuredAccuracy(9, 10), Cautious: 0.8,
			Ways: []GateWay{{Variant: "image", Items: 7, OnGate: 1, OnThen: 1}, {Variant: "all", Penalty: 0.2, Items: 3, OnGate: 0.3, OnThen: 0.6}}}
	}
	for want, change := range map[string]func(*GatePoint){
		"":                     func(*GatePoint) {},
		"has no gate all":      func(p *GatePoint) { p.Gate = "all" },
		"way 0 goes to all":    func(p *GatePoint) { p.Ways[0].Variant = "all" },
		"a penalty of -1":      func(p *GatePoint) { p.Ways[1].Penalty = -1 },
		"1 ways for":           func(p *GatePoint) { p.Ways = p.Ways[:1] },
		"for 11 of 10 items":   func(p *GatePoint) { p.Ways[0].Items = 8 },
		"at a price of NaN":    func(p *GatePoint) { p.Price = math.NaN() },
		"accuracies of 2 and ": func(p *GatePoint) { p.Ways[0].OnGate = 2 },
	} {
		p := good()
		change(&p)
		err := (&Cascades{Tested: 1, Gates: []GatePoint{p}}).check(m)
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (&Cascades{Gates: []GatePoint{good()}}).check(m); err == nil {
		t.Error("more points than were tested")
	}
}
