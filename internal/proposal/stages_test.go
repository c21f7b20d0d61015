package proposal_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/internal/proposal"
	"github.com/mosel-serve/mosel/tensor"
)

// layer is a stage that really runs: it hands on what it reads, as features.
func layer(output string, input value) []byte {
	var g modelpkgtest.Graph
	g.Input(input.name, input.dtype, input.dims...)
	g.Node("Relu", []string{input.name}, []string{output})
	g.Output(output, input.dtype, input.dims...)
	return g.File()
}

func stagesOf(m *modelpkg.Model) string {
	var list []string
	for _, v := range m.Variants {
		var names []string
		for _, s := range v.Steps {
			names = append(names, m.Stages[s.Stage].Name)
		}
		list = append(list, v.Name+": "+strings.Join(append(v.Modalities.Names(m.ModalityNames()), names...), " "))
	}
	return strings.Join(list, "; ")
}

func TestStagesAreProposed(t *testing.T) {
	floats := func(name string) value { return in(name, tensor.FP32, open, 2) }
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"late fusion": {map[string][]byte{
			"text.onnx": layer("text_features", floats("text")), "image.onnx": layer("image_features", floats("image")),
			"text_head.onnx": scorer("scores", 3, floats("text_features")), "fusion.onnx": scorer("scores", 3, floats("text_features"), floats("image_features")),
		}, "text: text text text_head; all: image text image text fusion"},
		"early exits": {map[string][]byte{
			"block1.onnx": layer("h1", floats("x")), "block2.onnx": layer("h2", floats("h1")),
			"exit1.onnx": scorer("scores", 3, floats("h1")), "exit2.onnx": scorer("scores", 3, floats("h2")),
		}, "x: x block1 exit1; exit2: x block1 block2 exit2"},
		"a head that reads an input itself, beside a whole graph": {map[string][]byte{
			"encoder.onnx": layer("features", floats("audio")), "head.onnx": scorer("scores", 3, floats("features"), floats("image")),
			"image_only.onnx": scorer("scores", 3, floats("image")),
		}, "image: image; all: image audio encoder head"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range c.files {
				writeFile(t, filepath.Join(dir, file), content)
			}
			if _, m := sound(t, dir, proposal.Options{}); !sameVariants(stagesOf(m), c.want) {
				t.Errorf("%s, want %s", stagesOf(m), c.want)
			}
		})
	}
}

// TestStagesThatDoNotFit: a graph has an input with the name of another graph's output, but
// of another type or shape. A person must decide: a check would refuse the chain.
func TestStagesThatDoNotFit(t *testing.T) {
	for name, head := range map[string]value{
		"it is UINT8 [-1 2], and the output of that name of encoder.onnx is FP32 [-1 2]": in("features", tensor.Uint8, open, 2),
		"it is FP32 [-1 3], and the output of that name of encoder.onnx is FP32 [-1 2]":  in("features", tensor.FP32, open, 3),
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "encoder.onnx"), layer("features", in("x", tensor.FP32, open, 2)))
		writeFile(t, filepath.Join(dir, "head.onnx"), scorer("scores", 3, head))
		var why []string
		for _, d := range propose(t, dir, proposal.Options{}).Decisions {
			why = append(why, d.Why)
		}
		if want := strings.Replace(name, "it is", "its input features is", 1); !slices.Contains(why, want) {
			t.Errorf("decisions %q, want %q", why, want)
		}
	}
}

// sameVariants compares without the order of stages that do not need each other.
func sameVariants(got, want string) bool {
	a, b := strings.Split(got, "; "), strings.Split(want, "; ")
	return slices.EqualFunc(a, b, func(x, y string) bool {
		p, q := strings.Fields(x), strings.Fields(y)
		slices.Sort(p)
		slices.Sort(q)
		return slices.Equal(p, q)
	})
}

const wordPiece = `{"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
"vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}}, "pre_tokenizer": {"type": "Whitespace"}}`

func TestBucketsAndTokenizersAreProposed(t *testing.T) {
	dir := t.TempDir()
	ids, mask, types := in("input_ids", tensor.Int64, open, open), in("attention_mask", tensor.Int64, open, open), in("token_type_ids", tensor.Int64, open, open)
	writeFile(t, filepath.Join(dir, "text.onnx"), scorer("scores", 3, ids, mask, types))
	writeFile(t, filepath.Join(dir, "tokenizer.json"), []byte(wordPiece))
	const n, length = 40, 64
	own := func(sample int) int { return 1 + sample%10*6 } // 1 to 55
	marks := numbers(n*length, func(i int) int64 {
		if i%length < own(i/length) {
			return 1
		}
		return 0
	})
	writeNPZ(t, filepath.Join(dir, "samples.npz"),
		arrayOf(t, "input_ids", tensor.Shape{n, length}, numbers(n*length, func(i int) int64 { return marks[i] * int64(2+i%2) })),
		arrayOf(t, "attention_mask", tensor.Shape{n, length}, marks),
		arrayOf(t, "token_type_ids", tensor.Shape{n, length}, make([]int64, n*length)),
		arrayOf(t, "label", tensor.Shape{n}, numbers(n, func(i int) int64 { return int64(i % 3) })))
	p, m := sound(t, dir, proposal.Options{})
	in := p.Modalities[0].Inputs[0]
	if !slices.Equal(in.Buckets, []int64{8, 16, 32, 64}) || in.Mask != "attention_mask" || in.Types != "token_type_ids" || in.Tokenizer != "tokenizer.json" || in.Media != "text" {
		t.Errorf("%+v\n%s", in, p.YAML())
	}
	var names []string
	for _, v := range m.Variants {
		names = append(names, v.Name)
	}
	if got := strings.Join(names, " "); got != "text@8 text@16 text@32 text@64" {
		t.Errorf("variants %s", got)
	}
	if m.Inputs[0].Tokens == nil || m.Inputs[1].Buckets == nil || m.Inputs[2].Buckets == nil {
		t.Errorf("inputs %+v", m.Inputs)
	}
	writeFile(t, filepath.Join(dir, "other/tokenizer.json"), []byte("{}"))
	p = propose(t, dir, proposal.Options{})
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "several tokenizers") || p.Modalities[0].Inputs[0].Tokenizer != "" {
		t.Errorf("with two tokenizers: %s", notes)
	}
}
