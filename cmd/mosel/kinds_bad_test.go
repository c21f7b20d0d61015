package main

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// fixedInside is a graph of ids of any length, by its declarations, that takes a length of
// 4 alone.
func fixedInside() []byte {
	var g modelpkgtest.Graph
	g.Input("ids", tensor.Int64, modelpkgtest.Batch, -1)
	g.Weight("table", tensor.FP32, floats(draws(1, 30)...), 10, 3)
	g.Weight("four", tensor.Int64, wholes(-1, 4, 3), 3)
	g.Node("Gather", []string{"table", "ids"}, []string{"found"}, modelpkgtest.Integer("axis", 0))
	g.Node("Reshape", []string{"found", "four"}, []string{"tags"})
	g.Output("tags", tensor.FP32, modelpkgtest.Batch, -1, 3)
	return g.File()
}

// declaredFixed is a graph that declares a length of 4.
func declaredFixed() []byte {
	var g modelpkgtest.Graph
	g.Input("ids", tensor.Int64, modelpkgtest.Batch, 4)
	g.Weight("table", tensor.FP32, floats(draws(1, 30)...), 10, 3)
	g.Node("Gather", []string{"table", "ids"}, []string{"tags"}, modelpkgtest.Integer("axis", 0))
	g.Output("tags", tensor.FP32, modelpkgtest.Batch, 4, 3)
	return g.File()
}

// oneTokenMore is a graph that gives one token more than it gets.
func oneTokenMore() []byte {
	var g modelpkgtest.Graph
	g.Input("ids", tensor.Int64, modelpkgtest.Batch, -1)
	g.Weight("table", tensor.FP32, floats(draws(1, 30)...), 10, 3)
	g.Weight("pads", tensor.Int64, wholes(0, 0, 0, 0, 1, 0), 6)
	g.Node("Gather", []string{"table", "ids"}, []string{"found"}, modelpkgtest.Integer("axis", 0))
	g.Node("Pad", []string{"found", "pads"}, []string{"tags"})
	g.Output("tags", tensor.FP32, modelpkgtest.Batch, -1, 3)
	return g.File()
}

// relay is a graph that reads tensors of one number and gives their sum.
func relay(out string, inputs ...string) []byte {
	var g modelpkgtest.Graph
	for _, in := range inputs {
		g.Input(in, tensor.FP32, modelpkgtest.Batch, 1)
	}
	g.Node("Sum", inputs, []string{out})
	g.Output(out, tensor.FP32, modelpkgtest.Batch, 1)
	return g.File()
}

// notNumbers is a graph whose values are NaN.
func notNumbers() []byte {
	var g modelpkgtest.Graph
	g.Input("x", tensor.FP32, modelpkgtest.Batch, 3)
	total(&g, "x", "negative", 0)
	g.Node("Div", []string{"negative", "negative"}, []string{"y"})
	g.Output("y", tensor.FP32, modelpkgtest.Batch, 1)
	return g.File()
}

// classesAlone is a graph that gives the best class in place of scores.
func classesAlone() []byte {
	var g modelpkgtest.Graph
	g.Input("pixels", tensor.Uint8, modelpkgtest.Batch, 4, 4, 3)
	g.Node("Cast", []string{"pixels"}, []string{"numbers"}, modelpkgtest.Integer("to", 1))
	g.Node("Flatten", []string{"numbers"}, []string{"flat"})
	g.Node("ArgMax", []string{"flat"}, []string{"scores"}, modelpkgtest.Integer("axis", 1), modelpkgtest.Integer("keepdims", 1))
	g.Output("scores", tensor.Int64, modelpkgtest.Batch, 1)
	return g.File()
}

// labelled is an evaluation set of a kind with other labels.
func labelled(t *testing.T, k kind, label tensor.Tensor) []byte {
	t.Helper()
	arrays, err := modelpkg.ReadNPZ(bytes.NewReader(k.files["eval.npz"]), int64(len(k.files["eval.npz"])), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	label.Name = "label"
	for i := range arrays {
		if arrays[i].Name == "label" {
			arrays[i] = label
		}
	}
	return npzWithTexts(t, arrays, nil)
}

// TestCheckTellsWhatIsBroken breaks packages of each kind: check says so before anything
// is served, with the line of mosel.yaml, or the graph.
func TestCheckTellsWhatIsBroken(t *testing.T) {
	needRuntime(t)
	tags, picture, stages, sign, multi, grid := tagsKind(t), pictureKind(t), stagesKind(t), signKind(t), multilabelKind(t), gridKind(t)
	tokenized := strings.NewReplacer("datatype: INT64, shape: [-1], ", "datatype: INT64, shape: [-1], media: text, tokenizer: tokenizer.json, ")
	for _, c := range []struct {
		what     string
		kind     kind
		old, new string            // in mosel.yaml
		files    map[string][]byte // in place of others
		want     string
	}{
		{"an output of classes", picture, "", "", map[string][]byte{"v.onnx": classesAlone()}, "mosel.yaml:6:36: scores is declared FP32, but is INT64 in variant v (v.onnx)"},
		{"an output of another shape", picture, "shape: [2]}]", "shape: [3]}]", nil, "mosel.yaml:6:49: scores is declared [3], but is [2] after the batch dimension in variant v (v.onnx)"},
		{"an output that the metric cannot score", multi, "metric: multilabel", "metric: {name: binary}", nil,
			"mosel.yaml:7:11: the metric binary needs a first output of FP32, FP16 or FP64 [] or [1]: one number, not FP32 [4]"},
		{"NaN in answers", sign, "", "", map[string][]byte{"a.onnx": notNumbers()}, "a.onnx: variant a: the answer to sample 0 cannot be scored: number 0 of the output is NaN"},
		{"labels beyond the classes", picture, "", "", map[string][]byte{"eval.npz": labelled(t, picture, arrayOf("", tensor.Shape{kindSamples}, make40(2)))},
			"mosel.yaml:8:23: evaluation set eval.npz: the label of sample 0 is 2; the model has the classes 0 to 1"},
		{"too few labels", picture, "", "", map[string][]byte{"eval.npz": labelled(t, picture, arrayOf("", tensor.Shape{2}, []int64{0, 1}))},
			"mosel.yaml:8:23: evaluation set eval.npz: array \"pixels\" has 40 samples; there are 2 labels"},
		{"labels of tokens in another shape", tags, "", "", map[string][]byte{"eval.npz": labelled(t, tags, arrayOf("", tensor.Shape{kindSamples, 2, 1}, make([]int64, 2*kindSamples)))},
			"mosel.yaml:9:23: evaluation set eval.npz: array \"label\" has shape [40,2,1]"},
		{"fewer labels than tokens", tags, "", "", map[string][]byte{"eval.npz": labelled(t, tags, arrayOf("", tensor.Shape{kindSamples, 12}, make([]int64, 12*kindSamples)))},
			"v.onnx: variant v@2: the answer to sample"},
		{"a bucket that an operator refuses", tags, "", "", map[string][]byte{"v.onnx": fixedInside()}, "Is there an operator that fixes the size of an input, such as a Reshape? Export the graph with that dimension dynamic, or leave this bucket out"},
		{"an output that does not follow its input", tags, "", "", map[string][]byte{"v.onnx": oneTokenMore()},
			"v.onnx: variant v@2: in a batch of 1 the output \"tags\" is FP32 [1,3,3]; it is declared FP32 [1,2,3]."},
		{"a bucket that the graph's declaration refuses", tags, "", "", map[string][]byte{"v.onnx": declaredFixed()}, "mosel.yaml:6:50: ids is declared [-1], but is [4] after the batch dimension in variant v (v.onnx)"},
		{"buckets smaller than the samples", grid, "[4, 6]]", "[3, 6]]", nil, "mosel.yaml:12:23: evaluation set eval.npz: sample 2: input \"grid\" has the shape [4,2], which no bucket has room for; the largest is [3,6]"},
		{"a bucket without samples", tags, "[2, 4, 8]", "[2, 4, 8, 32]", nil, "warning: mosel.yaml:6: no sample of eval.npz belongs to the bucket 32 of ids"},
		{"stages in a circle", stages, "", "", map[string][]byte{"encode_a.onnx": relay("twice_x", "twice_z"), "encode_b.onnx": relay("twice_z", "twice_x")},
			"mosel.yaml:18:5: variant both: stage encode_a reads \"twice_z\", an output of stage encode_b, which needs outputs of this one: the stages are a cycle"},
		{"stages in the wrong order", stages, "[encode_a, encode_b, fusion]", "[encode_b, fusion, encode_a]", nil,
			"mosel.yaml:18:5: variant both: stage fusion reads \"twice_x\", an output of stage encode_a, which runs after it: stages run in the order of the list"},
		{"a stage that reads its own output", stages, "", "", map[string][]byte{"fusion.onnx": relay("y", "y")}, "variant both: stage fusion reads \"y\", its own output"},
		{"a stage that reads what no stage gives", stages, "", "", map[string][]byte{"head.onnx": relay("y", "thrice_x")},
			"mosel.yaml:17:5: variant a: stage head reads \"thrice_x\", which is neither an input of the variant's modalities nor an output of a stage before it"},
		{"an input that no stage reads", stages, "stages: [encode_a, encode_b, fusion]", "stages: [encode_a, head]", nil,
			"mosel.yaml:18:5: variant both: no stage of it reads the input \"z\" of modality b"},
		{"a tokenizer that is none", tags, "tokenizer", "", map[string][]byte{"tokenizer.json": []byte("{")}, "mosel.yaml:6:"},
		{"a tokenizer with parts that are not read", tags, "tokenizer", "", map[string][]byte{"tokenizer.json": []byte(`{"model": {"type": "WordLevel", "vocab": {}}}`)}, "tokenizer tokenizer.json: "},
		{"a tokenizer that is not there", tags, "tokenizer", "", nil, "tokenizer tokenizer.json: no such file or directory"},
	} {
		t.Run(c.what, func(t *testing.T) {
			k := c.kind
			switch k.files = map[string][]byte{}; {
			case c.old == "tokenizer":
				k.yaml = tokenized.Replace(k.yaml)
			case c.old != "":
				if k.yaml = strings.Replace(k.yaml, c.old, c.new, 1); k.yaml == c.kind.yaml {
					t.Fatalf("%q is not in mosel.yaml", c.old)
				}
			}
			maps.Copy(k.files, c.kind.files)
			maps.Copy(k.files, c.files)
			out, err := runMosel("check", k.write(t, t.TempDir()))
			if (err == nil) != strings.HasPrefix(c.want, "warning:") || !strings.Contains(out, c.want) {
				t.Errorf("%v\n%s\nwant in it %s", err, out, c.want)
			}
		})
	}
}

// make40 are labels of which the first is this one.
func make40(first int64) []int64 {
	labels := make([]int64, kindSamples)
	labels[0] = first
	return labels
}
