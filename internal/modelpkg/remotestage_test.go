package modelpkg_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// remoteStageYAML is stagedYAML with the picture's encoder on another server.
var remoteStageYAML = strings.Replace(stagedYAML, "path: image.onnx}",
	"remote: grpc://gpu:8001/image, slots: 8, inputs: [pixels], outputs: [{name: image_features, datatype: FP32, shape: [16]}]}", 1)

func TestRemoteStage(t *testing.T) {
	graphs := stagedGraphs()
	delete(graphs, "image.onnx")
	m, err := modelpkg.Load(writeStaged(t, remoteStageYAML, graphs))
	if err != nil {
		t.Fatal(err)
	}
	stage := m.Stages[1]
	if stage.Path != "" || stage.Remote == nil || stage.Remote.Server != "grpc://gpu:8001" || stage.Remote.Model != "image" || stage.Remote.Slots != 8 ||
		fmt.Sprint(stage.Outputs[0].Name, stage.Outputs[0].Shape) != "image_features[16]" {
		t.Errorf("%+v, %+v", stage, stage.Remote)
	}
	if got := fmt.Sprint(m.ServersOf(0), m.ServersOf(1), m.HasGraphs(1), len(m.Files)); got != "[] [grpc://gpu:8001] true 4" {
		t.Errorf("servers of both variants, graphs, files: %s", got)
	}
	steps, paths := m.StepsOf(1)
	if s := steps[2].Inputs[1]; s.Name != "image_features" || s.Step != 1 || paths[1] != "" || m.GraphFile(1) != "fusion.onnx" {
		t.Errorf("%+v, %q", s, paths)
	}
}

func TestRemoteStageProblems(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"neither path nor remote": {"path: text.onnx", "", "8:5: a stage needs one of path (of its graph) and remote"},
		"both":                    {"remote: grpc", "path: image.onnx, remote: grpc", "9:5: a stage needs one of path (of its graph) and remote"},
		"no inputs":               {", inputs: [pixels]", "", "9:5: a stage with remote needs inputs (the names of the tensors that it reads) and outputs"},
		"inputs of a graph":       {"path: text.onnx", "path: text.onnx, inputs: [ids]", "8:51: inputs and outputs are for a stage with remote; those of a graph are in its file"},
		"slots of a graph":        {"path: text.onnx", "path: text.onnx, slots: 3", "8:50: slots is for a stage with remote"},
		"no such input":           {"[pixels]", "[pixel]", `14:5: variant both: stage image_encoder reads "pixel", which is neither an input of the variant's modalities nor an output of a stage before it`},
		"an input twice":          {"[pixels]", "[pixels, pixels]", `9:85: the input "pixels" occurs twice`},
		"an unread output":        {"name: image_features", "name: features", `14:5: variant both: nothing reads the outputs of stage image_encoder`},
		"another type":            {"datatype: FP32, shape: [16]", "datatype: FP16, shape: [16]", "14:5: variant both: stage fusion reads image_features as FP32, but gets FP16"},
		"another shape":           {"datatype: FP32, shape: [16]", "datatype: FP32, shape: [12]", "14:5: variant both: stage fusion reads image_features with shape [-1,16], but gets [-1,12]"},
		"no such type":            {"datatype: FP32, shape: [16]", "datatype: FLOAT, shape: [16]", `the datatype "FLOAT" is unknown`},
		"a bad address":           {"grpc://gpu:8001/image", "gpu:8001/image", `9:35: remote is of the scheme "gpu"; it must be grpc://HOST:PORT/MODEL`},
		"no such file":            {"grpc://gpu:8001/image", "grpcs://gpu:8001/image, ca: ca.pem", "9:63: stage image_encoder: ca.pem: no such file or directory"},
		"follows":                 {"shape: [16]}]", "shape: [16], follows: ids}]", "follows is for outputs of the model"},
		"cut off": {"[text_encoder, image_encoder, fusion]", "[text_encoder, image_encoder]",
			`14:5: variant both: stage image_encoder has no output "scores"; it has image_features`},
	} {
		t.Run(name, func(t *testing.T) {
			yaml := strings.Replace(remoteStageYAML, c.from, c.to, 1)
			if yaml == remoteStageYAML {
				t.Fatal("nothing is changed")
			}
			graphs := stagedGraphs()
			delete(graphs, "image.onnx")
			if _, err := modelpkg.Load(writeStaged(t, yaml, graphs)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// TestRemoteLastStage has the head on another server.
func TestRemoteLastStage(t *testing.T) {
	yaml := strings.Replace(stagedYAML, "path: fusion.onnx}",
		"remote: http://gpu/fusion, inputs: [text_features, image_features], outputs: [{name: scores, datatype: FP32, shape: [2]}]}", 1)
	graphs := stagedGraphs()
	delete(graphs, "fusion.onnx")
	m, err := modelpkg.Load(writeStaged(t, yaml, graphs))
	if err != nil || m.GraphFile(1) != "" {
		t.Fatal(err)
	}
	graphs["text.onnx"] = new(modelpkgtest.Graph)
	graphs["text.onnx"].Input("ids", tensor.Int64, modelpkgtest.Batch, 4)
	graphs["text.onnx"].Output("words", tensor.FP32, modelpkgtest.Batch, 16)
	if _, err := modelpkg.Load(writeStaged(t, yaml, graphs)); err == nil || !strings.Contains(err.Error(), `variant both: stage fusion reads "text_features", which is neither`) {
		t.Error(err)
	}
}
