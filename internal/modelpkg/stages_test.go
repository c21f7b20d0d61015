package modelpkg_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// stagedYAML is a valid package with two encoders and two heads.
const stagedYAML = `format: 1
name: staged
modalities:
  - {name: text, inputs: [{name: ids, datatype: INT64, shape: [4]}]}
  - {name: image, inputs: [{name: pixels, datatype: UINT8, shape: [8]}]}
outputs: [{name: scores, datatype: FP32, shape: [2]}]
stages:
  - {name: text_encoder, path: text.onnx}
  - {name: image_encoder, path: image.onnx}
  - {name: head, path: head.onnx}
  - {name: fusion, path: fusion.onnx}
variants:
  - {name: text, modalities: [text], stages: [text_encoder, head]}
  - {name: both, modalities: [text, image], stages: [text_encoder, image_encoder, fusion]}
`

// stagedGraphs returns its graphs. They have only inputs and outputs, because nothing
// else is read.
func stagedGraphs() map[string]*modelpkgtest.Graph {
	graphs := map[string]*modelpkgtest.Graph{}
	for name, tensors := range map[string]func(g *modelpkgtest.Graph){
		"text.onnx": func(g *modelpkgtest.Graph) {
			g.Input("ids", tensor.Int64, modelpkgtest.Batch, 4)
			g.Output("text_features", tensor.FP32, modelpkgtest.Batch, 16)
		},
		"image.onnx": func(g *modelpkgtest.Graph) {
			g.Input("pixels", tensor.Uint8, modelpkgtest.Batch, 8)
			g.Output("image_features", tensor.FP32, modelpkgtest.Batch, 16)
		},
		"head.onnx": func(g *modelpkgtest.Graph) {
			g.Input("text_features", tensor.FP32, modelpkgtest.Batch, 16)
			g.Output("scores", tensor.FP32, modelpkgtest.Batch, 2)
		},
		"fusion.onnx": func(g *modelpkgtest.Graph) {
			g.Input("text_features", tensor.FP32, modelpkgtest.Batch, 16)
			g.Input("image_features", tensor.FP32, modelpkgtest.Batch, 16)
			g.Output("scores", tensor.FP32, modelpkgtest.Batch, 2)
		},
	} {
		graphs[name] = new(modelpkgtest.Graph)
		tensors(graphs[name])
	}
	return graphs
}

func writeStaged(t *testing.T, yaml string, graphs map[string]*modelpkgtest.Graph) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, modelpkg.FileName), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, g := range graphs {
		if err := os.WriteFile(filepath.Join(dir, name), g.File(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestStages checks how steps are connected.
func TestStages(t *testing.T) {
	m, err := modelpkg.Load(writeStaged(t, stagedYAML, stagedGraphs()))
	if err != nil {
		t.Fatal(err)
	}
	steps, paths := m.StepsOf(1)
	if strings.Join(paths, " ") != "text.onnx image.onnx fusion.onnx" || m.GraphFile(1) != "fusion.onnx" || len(m.Files) != 5 {
		t.Errorf("paths %v, files %v", paths, m.Files)
	}
	for i, want := range []modelpkg.Source{{Name: "text_features", Input: -1, Step: 0}, {Name: "image_features", Input: -1, Step: 1}} {
		if got := steps[2].Inputs[i]; got != want {
			t.Errorf("fusion reads %+v, want %+v", got, want)
		}
	}
	if in := steps[1].Inputs; len(in) != 1 || in[0].Input != 1 || steps[2].Outputs[0] != "scores" {
		t.Errorf("steps %+v", steps)
	}
}

// TestStageProblems has every way in which stages do not fit together.
func TestStageProblems(t *testing.T) {
	type change = func(yaml string, graphs map[string]*modelpkgtest.Graph) string
	edit := func(from, to string) change {
		return func(yaml string, _ map[string]*modelpkgtest.Graph) string { return strings.Replace(yaml, from, to, 1) }
	}
	graph := func(name string, tensors func(g *modelpkgtest.Graph)) change {
		return func(yaml string, graphs map[string]*modelpkgtest.Graph) string {
			graphs[name] = new(modelpkgtest.Graph)
			tensors(graphs[name])
			return yaml
		}
	}
	for name, c := range map[string]struct {
		change
		want string
	}{
		"neither path nor stages": {edit(", stages: [text_encoder, head]", ""), "13:5: a variant needs one of path (of its graph), stages and remote"},
		"both":                    {edit("stages: [text_encoder, head]", "path: x.onnx, stages: [text_encoder, head]"), "13:5: a variant needs one of path (of its graph), stages and remote"},
		"unknown stage":           {edit("[text_encoder, head]", "[text_encoder, hed]"), `13:61: the model has no stage "hed"; did you mean "head"?`},
		"a stage twice":           {edit("[text_encoder, head]", "[text_encoder, text_encoder, head]"), `13:61: the stage "text_encoder" occurs twice`},
		"names twice":             {edit("name: fusion", "name: head"), `the stage "head" occurs twice`},
		"a file twice":            {edit("path: fusion.onnx", "path: head.onnx"), `the path "head.onnx" occurs twice`},
		"no file":                 {edit("path: head.onnx", "path: hat.onnx"), "10:24: stage head: hat.onnx: no such file"},
		"outside":                 {edit("path: head.onnx", "path: ../head.onnx"), "10:24: the path"},
		"an unused stage": {edit("  - {name: both, modalities: [text, image], stages: [text_encoder, image_encoder, fusion]}\n", ""),
			"9:5: no variant runs stage image_encoder"},
		"the wrong order": {edit("[text_encoder, head]", "[head, text_encoder]"),
			`variant text: stage head reads "text_features", an output of stage text_encoder, which runs after it: stages run in the order of the list`},
		"another modality's input": {edit("modalities: [text, image], stages", "modalities: [text], stages"),
			`variant both: stage image_encoder reads "pixels", which is neither an input of the variant's modalities`},
		"an input that nothing reads": {edit("[text_encoder, image_encoder, fusion]", "[text_encoder, head]"),
			`variant both: no stage of it reads the input "pixels" of modality image`},
		"an output that nothing reads": {edit("stages: [text_encoder, head]", "stages: [text_encoder, image_encoder, head]"), "variant text: nothing reads the outputs of stage image_encoder"},
		"no scores": {graph("head.onnx", func(g *modelpkgtest.Graph) {
			g.Input("text_features", tensor.FP32, modelpkgtest.Batch, 16)
			g.Output("logits", tensor.FP32, modelpkgtest.Batch, 2)
		}), `13:5: variant text: head.onnx has no output "scores"; it has logits`},
		"another type": {graph("text.onnx", func(g *modelpkgtest.Graph) {
			g.Input("ids", tensor.Int64, modelpkgtest.Batch, 4)
			g.Output("text_features", tensor.FP64, modelpkgtest.Batch, 16)
		}), "variant text: stage head reads text_features as FP32, but gets FP64"},
		"another shape": {graph("text.onnx", func(g *modelpkgtest.Graph) {
			g.Input("ids", tensor.Int64, modelpkgtest.Batch, 4)
			g.Output("text_features", tensor.FP32, modelpkgtest.Batch, 12)
		}), "variant text: stage head reads text_features with shape [-1,16], but gets [-1,12]"},
		"a declaration": {graph("text.onnx", func(g *modelpkgtest.Graph) {
			g.Input("ids", tensor.Int32, modelpkgtest.Batch, 4)
			g.Output("text_features", tensor.FP32, modelpkgtest.Batch, 16)
		}), "ids is declared INT64, but is INT32"},
	} {
		t.Run(name, func(t *testing.T) {
			graphs := stagedGraphs()
			yaml := c.change(stagedYAML, graphs)
			_, err := modelpkg.Load(writeStaged(t, yaml, graphs))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}
