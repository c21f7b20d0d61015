package modelpkg

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// declared loads the good package with the line of one input or output changed.
func declared(t *testing.T, old, text string) (*Model, []string) {
	t.Helper()
	dir := writePackage(t)
	broken := strings.Replace(goodYAML, old, text, 1)
	if broken == goodYAML {
		t.Fatalf("%q is not in the package", old)
	}
	write(t, dir, FileName, []byte(broken))
	f := CheckIn("", dir)
	return f.Model, lines(dir, f.Problems)
}

// TestDeclarations checks the optional declarations of inputs.
func TestDeclarations(t *testing.T) {
	m, problems := declared(t, "shape: [2, 2], media: image}", "shape: [2, 2], media: image, absent: zeros, range: [0, 200]}")
	if len(problems) > 0 || m.Inputs[0].Absent.Kind != AbsentZeros || *m.Inputs[0].Range != (Range{0, 200}) {
		t.Errorf("zeros and a range: %v, %+v", problems, m)
	}
	m, problems = declared(t, "max: 16000}", "max: 16000, absent: silence}")
	if len(problems) > 0 || m.Inputs[1].Absent != (Absence{AbsentSilence, 0.001}) || m.Inputs[1].Max != 16000 {
		t.Errorf("silence: %v, %+v", problems, m)
	}
	m, problems = declared(t, "max: 16000}", "max: 16000, absent: silence, silence_below: 0.01}")
	if len(problems) > 0 || m.Inputs[1].Absent != (Absence{AbsentSilence, 0.01}) {
		t.Errorf("silence below a level: %v, %+v", problems, m)
	}
	m, problems = declared(t, "shape: [2, 2], media: image}", "shape: [2, 2], absent: blank, batched: true}")
	if len(problems) > 0 || m.Inputs[0].Absent.Kind != AbsentBlank || m.Inputs[0].Unbatched {
		t.Errorf("blank: %v, %+v", problems, m)
	}
}

func TestDeclarationProblems(t *testing.T) {
	image, wave, gain := "shape: [2, 2], media: image}", ", sample_rate: 8000, max: 16000}", "datatype: FP32, shape: []}"
	for _, c := range []struct{ old, text, want string }{
		{image, "shape: [2, 2], max: 4}", `10:60: max is the largest size of a dimension that is -1; the shape [2,2] has none`},
		{wave, ", sample_rate: 8000, max: 0}", `13:90: max is 0; it must be between 1 and 2147483648`},
		{wave, ", sample_rate: 8000, max: 2147483648}", `13:90: the shape [-1] with a max of 2147483648 is too large`},
		{image, "shape: [2, 2], absent: nothing}", `10:63: the absent "nothing" is not supported; known: zeros, silence, blank`},
		{image, "shape: [2, 2], absent: silence}", `10:63: absent: silence is for sound, INT16 or FP32, not UINT8`},
		{gain, "datatype: FP32, shape: [], absent: blank}", `14:57: absent: blank is for character codes, UINT8 or another whole-number type, not FP32`},
		{image, "shape: [2, 2], absent: zeros, silence_below: 0.1}", `10:85: silence_below is for an input with absent: silence`},
		{wave, ", sample_rate: 8000, max: 9, absent: silence, silence_below: 2}", `13:125: silence_below is 2; it must be between 1e-09 and 1`},
		{wave, ", sample_rate: 8000, max: 9, absent: silence, silence_below: 0}", `13:125: silence_below is 0; it must be between 1e-09 and 1`},
		{image, "shape: [2, 2], range: [0, 256]}", `10:62: range is [0, 256]; UINT8 has values from 0 to 255`},
		{image, "shape: [2, 2], range: [9, 1]}", `10:62: range is [9, 1]; the least value comes first`},
		{image, "shape: [2, 2], range: [0.5, 1]}", `10:62: range is [0.5, 1]; UINT8 has whole values only`},
		{image, "shape: [2, 2], range: [1]}", `10:62: range must be two numbers, the least and the greatest value: [low, high]`},
		{image, "shape: [2, 2], range: 3}", `10:62: range must be a list, not "3"`},
		{image, "shape: [2, 2], range: [1, x]}", `10:66: an end of range must be a number, not "x"`},
		{image, "shape: [2, 2], batched: no way}", `10:64: batched must be true or false, not "no way"`},
		{image, "shape: [2, 2], media: image, batched: false}", `10:78: batched: false is for a setting that holds for a whole batch, not for an input with media`},
		{gain, "datatype: FP32, shape: [], absent: zeros, batched: false}",
			`14:73: batched: false is for a setting that holds for a whole batch, which cannot be absent from one item: leave out absent`},
		{gain, "datatype: FP32, shape: [-1], max: 3, batched: false}", `14:68: batched: false is for a tensor of fixed size; give the size of the dimension that is -1`},
		{"{name: scores, datatype: FP32, shape: [2]}", "{name: scores, datatype: FP32, shape: [2], max: 2}",
			`16:53: max is the largest size of a dimension that is -1; the shape [2] has none`},
		{"name: pair", "name: stats", `2:7: a model cannot be named stats: requests to /v2/models/stats ask for the statistics of all models`},
		{"shape: [2]}", "shape: [2, 2]}",
			`16:5: classification needs a first output of FP32, FP16 or FP64 [classes] with a score for every class (further dimensions may be 1), not FP32 [2,2]`},
		{"shape: [2]}", "shape: [-1]}",
			`16:43: the first output must have a fixed number of classes, at least 2, not -1`},
		{image, "shape: [2, 2], max_bytes: 9}", `10:66: max_bytes is for BYTES, of which each element has a length of its own, not UINT8`},
		{gain, "datatype: BYTES, shape: [], absent: zeros}", `14:58: absent: zeros is for numbers; for BYTES there is blank`},
		{gain, "datatype: BYTES, shape: [], range: [0, 1]}", `14:57: range is for numbers, not BYTES`},
		{gain, "datatype: BYTES, shape: [3], media: text}", `14:58: media text needs UINT8 [length], or BYTES [] or [1], not BYTES [3]`},
		{image, "shape: [2, 2], batched: false}", `18:5: variant image has inputs with batched: false only; one of its inputs must have a batch`},
	} {
		if _, got := declared(t, c.old, c.text); len(got) == 0 || got[0] != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, strings.Join(got, "\n     "), c.want)
		}
	}
}

// TestTensorNames checks that names of real graphs are accepted.
func TestTensorNames(t *testing.T) {
	for _, name := range []string{"input ids", "serving_default_x:0", "/encoder/Add", "größe", "画像", "a=b"} {
		dir := writePackage(t)
		write(t, dir, FileName, []byte(strings.ReplaceAll(goodYAML, "{name: scores,", "{name: '"+name+"',")))
		out := value{name, 1, []int64{-1, 2}}
		write(t, dir, "onnx/image.onnx", graphSpec{17, []value{imageIn}, []value{out}, nil, nil}.encode())
		write(t, dir, "onnx/all.onnx", graphSpec{17, []value{imageIn, waveIn, gainIn}, []value{out}, nil, nil}.encode())
		if problems := Check(dir); len(problems) > 0 {
			t.Errorf("%q: %v", name, problems)
		}
	}
	_, got := declared(t, "{name: scores,", `{name: "sco\tres",`)
	if want := `16:12: the name "sco\tres" must be at most 256 characters, none of them a control character`; len(got) == 0 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLengthFromSamples checks the largest size of a dynamic dimension if none is
// declared.
func TestLengthFromSamples(t *testing.T) {
	m, problems := declared(t, ", max: 16000}", "}")
	want := "mosel.yaml:13: wave has a dimension of -1 and no max: 5 is taken, the size of the samples in eval/profile.npz; write max: 5, or the largest size that will be served"
	if len(problems) > 0 || m.Inputs[1].Max != 5 || !slices.Equal(m.Warnings, []string{want}) {
		t.Errorf("%v, %+v, warnings %q", problems, m.Inputs[1], m.Warnings)
	}
	dir := writePackage(t)
	none := goodYAML[:strings.Index(goodYAML, "evaluation:")]
	none = strings.Replace(none, ", max: 16000}", "}", 1)
	write(t, dir, FileName, []byte(none))
	_, err := Load(dir)
	if err == nil || !strings.HasSuffix(err.Error(),
		"mosel.yaml:13:46: wave has a dimension of -1 and no max: write the largest size that will be served, such as max: 512 (evaluation.profile names no samples to take it from)") {
		t.Errorf("no samples: %v", err)
	}
	write(t, dir, FileName, []byte(strings.Replace(goodYAML, ", max: 16000}", "}", 1)))
	write(t, dir, "eval/profile.npz", npz(t, setArrays(4)[2:]))
	if _, err := Load(dir); err == nil || !strings.HasSuffix(err.Error(), "(eval/profile.npz has no array of that name and shape)") {
		t.Errorf("no array: %v", err)
	}
	if err := os.Remove(m.File("eval/profile.npz")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(m.Dir); err == nil || !strings.HasSuffix(err.Error(), "(eval/profile.npz cannot give it: no such file or directory)") {
		t.Errorf("no file: %v", err)
	}
}

// TestUnbatched checks an input whose tensor has no batch dimension: in its graph, and
// in the samples, which have one value for all or one value each.
func TestUnbatched(t *testing.T) {
	dir := writePackage(t)
	write(t, dir, FileName, []byte(strings.Replace(goodYAML, "datatype: FP32, shape: []}", "datatype: FP32, shape: [], batched: false}", 1)))
	scalar := value{"gain", 1, []int64{}}
	write(t, dir, "onnx/all.onnx", graphSpec{17, []value{imageIn, waveIn, scalar}, []value{scores}, nil, nil}.encode())
	for _, shape := range []tensor.Shape{{}, {1}, {4}} {
		arrays := setArrays(4)
		n, _ := shape.Elements()
		arrays[2] = tensor.Tensor{Name: "gain", DType: tensor.FP32, Shape: shape, Data: arrays[2].Data[:4*n]}
		write(t, dir, "eval/profile.npz", npz(t, arrays))
		f := CheckIn("", dir)
		if len(f.Problems) > 0 || !f.Model.Inputs[2].Unbatched {
			t.Errorf("gain of %v: %v", shape, f.Problems)
			continue
		}
		set, err := OpenSet(f.Model.File("eval/profile.npz"), f.Model)
		if err != nil || len(set.Item(3)[2]) != 4 {
			t.Errorf("gain of %v: %v", shape, err)
		}
	}
	write(t, dir, "onnx/all.onnx", allOne.encode())
	if got, want := lines(dir, Check(dir)), "14:45: gain is declared [] without a batch (batched: false), but is [-1] in variant all (onnx/all.onnx)"; len(got) == 0 || got[0] != want {
		t.Errorf("a graph with a batch: %q, want %q", got, want)
	}
}
