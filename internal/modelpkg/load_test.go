package modelpkg

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/internal/strictyaml"
	"github.com/mosel-serve/mosel/tensor"
)

func TestLoad(t *testing.T) {
	dir := writePackage(t)
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := &Model{
		Dir: dir, Name: "pair", Version: "1.10", Description: "two inputs, two classes", Digest: m.Digest, Files: m.Files,
		Task: "classification", Metric: "accuracy",
		Modalities: []Modality{{"image", []int{0}}, {"sound", []int{1, 2}}},
		Inputs: []Input{
			{Spec: Spec{Name: "image", DType: tensor.Uint8, Shape: tensor.Shape{2, 2}}, Media: MediaImage},
			{Spec: Spec{Name: "wave", DType: tensor.Int16, Shape: tensor.Shape{-1}, Max: 16000}, Modality: 1, Media: MediaAudio, SampleRate: 8000},
			{Spec: Spec{Name: "gain", DType: tensor.FP32, Shape: nil}, Modality: 1},
		},
		Outputs: []Spec{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{2}}},
		Variants: []Variant{
			{Name: "image", Modalities: 1, Inputs: []int{0}, Path: "onnx/image.onnx", Precision: "fp32"},
			{Name: "all", Of: 1, Modalities: 3, Inputs: []int{0, 1, 2}, Path: "onnx/all.onnx", Precision: "int8"},
		},
		Labels:     []string{"no", "yes"},
		Limits:     Limits{8, 512 << 20},
		Evaluation: Evaluation{"eval/profile.npz", "eval/heldout.npz"},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	if got, want := slices.Sorted(maps.Keys(m.Files)), []string{FileName, "onnx/all.onnx", "onnx/image.onnx", "onnx/loop.bin", "onnx/weights.bin"}; !slices.Equal(got, want) {
		t.Errorf("the digest covers %q, want %q", got, want)
	}
	if got := m.Scoring.Classes(m.Outputs[0].Shape); got != 2 {
		t.Errorf("%d classes", got)
	}
	if problems := Check(dir); len(problems) > 0 {
		t.Errorf("check: %v", problems)
	}
}

func TestDefaults(t *testing.T) {
	dir := writePackage(t)
	short := goodYAML[:strings.Index(goodYAML, "labels:")]
	for _, key := range []string{"version: 1.10\n", "description: two inputs, two classes\n", "task: classification\n", "metric: accuracy\n"} {
		short = strings.Replace(short, key, "", 1)
	}
	write(t, dir, FileName, []byte(short))
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != "1" || m.Task != "classification" || m.Metric != "accuracy" || m.Limits != (Limits{BatchItemsMax: 32}) ||
		m.Evaluation != (Evaluation{}) || m.Labels != nil {
		t.Errorf("defaults: %+v", m)
	}
}

// yamlProblems each break the good package in one way; want is the whole report.
var yamlProblems = []struct {
	name, old, new string
	want           []string
}{
	{"unknown key", "limits:\n", "limit:\n", []string{`21:1: the package has no key "limit"; did you mean "limits"?`}},
	{"unknown key, far", "labels: [", "zoo: 1\nlabels: [", []string{
		`20:1: the package has no key "zoo"; known: format, name, version, description, task, metric, modalities, outputs, stages, variants, classes, labels, limits, evaluation, isolation, cascades, gates`}},
	{"unknown key inside", "max_batch", "batch_max", []string{`22:3: limits has no key "batch_max"; known: max_batch, memory`}},
	{"missing key", "    inputs:\n      - {name: image, datatype: UINT8, shape: [2, 2], media: image}\n", "", []string{`8:5: a modality has no inputs`}},
	{"key twice", "name: pair\n", "name: pair\nname: other\n", []string{`3:1: the package has name twice; the first is on line 2`}},
	{"format", "format: 1", "format: 2", []string{`1:9: format is 2; it must be between 1 and 1`}},
	{"name", "name: pair", "name: a/b", []string{`2:7: the name "a/b" must be ` + nameWant}},
	{"null", "name: pair", "name:", []string{`2:6: name is empty; it must be a text`}},
	{"text for list", "labels: [no, yes]", "labels: no", []string{`20:9: labels must be a list, not "no"`}},
	{"list for text", "name: pair", "name: [pair]", []string{`2:7: name must be a text, not a list`}},
	{"number", "max_batch: 8", "max_batch: eight", []string{`22:14: limits.max_batch must be a whole number, not "eight"`}},
	{"number in quotes", "max_batch: 8", `max_batch: "8"`, []string{`22:14: limits.max_batch must be a whole number, not "8"`}},
	{"range", "max_batch: 8", "max_batch: 100000", []string{`22:14: limits.max_batch is 100000; it must be between 1 and 512`}},
	{"memory", "512MiB", "512MB", []string{`23:11: limits.memory must be a whole number with B, KiB, MiB, GiB or TiB, such as 512MiB, not "512MB"`}},
	{"memory zero", "512MiB", "0MiB", []string{`23:11: limits.memory is out of range`}},
	{"datatype", "datatype: UINT8", "datatype: uint8", []string{`10:33: the datatype "uint8" is unknown; did you mean "UINT8"?`}},
	{"bytes", "{name: gain, datatype: FP32", "{name: gain, datatype: BYTES", []string{
		`14:32: gain is declared BYTES, but is FP32 in variant all (onnx/all.onnx)`,
		`25:12: evaluation set eval/profile.npz: array "gain" is FP32; the input is BYTES: save texts as numpy.array(texts, dtype=str)`,
		`26:12: evaluation set eval/heldout.npz: array "gain" is FP32; the input is BYTES: save texts as numpy.array(texts, dtype=str)`}},
	{"two dynamic dimensions", "shape: [2, 2], media: image", "shape: [-1, -1]",
		[]string{`10:47: image has 2 dimensions of -1, so it needs buckets, the sizes that items are filled up to, such as buckets: [[128, 128], [256, 256]]`}},
	{"dimension", "shape: [2, 2]", "shape: [2, 0]", []string{`10:51: a dimension is 0; give its size, or -1 if it varies`}},
	{"dimension too large", "shape: [2, 2], media: image", "shape: [2000000000, 2000000000, 2000000000]", []string{`10:47: the shape [2000000000,2000000000,2000000000] is too large`}},
	{"media", "media: image", "media: picture", []string{`10:62: the media "picture" is not supported; known: image, audio, text`}},
	{"sample rate missing", ", sample_rate: 8000", "", []string{`13:59: media audio needs a sample_rate`}},
	{"sample rate elsewhere", "media: image", "sample_rate: 8000", []string{`10:68: sample_rate is for an input with media: audio`}},
	{"variant names no modality", "modalities: [image]", "modalities: []", []string{`18:31: a variant's modalities: the list is empty`}},
	{"variant without modalities", "modalities: [image], ", "", []string{`18:5: a variant has no modalities`}},
	{"variant with unknown modality", "modalities: [image]", "modalities: [imge]", []string{`18:32: the model has no modality "imge"; did you mean "image"?`}},
	{"variant twice", "{name: all,", "{name: image,", []string{`19:12: the variant "image" occurs twice; the first is on line 18`}},
	{"path twice", "onnx/all.onnx", "onnx/../onnx/image.onnx", []string{`19:51: the path "onnx/../onnx/image.onnx" has ".."; it must stay inside the package`}},
	{"same graph", "onnx/all.onnx", "onnx/./image.onnx", []string{`19:51: the path "onnx/image.onnx" occurs twice; the first is on line 18`}},
	{"absolute", "onnx/all.onnx", "/etc/passwd", []string{`19:51: the path "/etc/passwd" is absolute; it must be relative to the package`}},
	{"backslash", "onnx/all.onnx", `onnx\all.onnx`, []string{`19:51: the path "onnx\\all.onnx" has a character that is not allowed; use "/" between folders`}},
	{"label twice", "[no, yes]", "[no, no]", []string{`20:14: the class "no" occurs twice; the first is on line 20`}},
	{"label missing", "[no, yes]", "[no]", []string{`20:10: there are 1 names for the 2 classes of output "scores"`}},
	{"not scores", "{name: scores, datatype: FP32, shape: [2]}", "{name: scores, datatype: INT64, shape: []}",
		[]string{`16:5: classification needs a first output of FP32, FP16 or FP64 [classes] with a score for every class (further dimensions may be 1), not INT64 []`}},
	{"task", "task: classification", "task: regression", []string{`5:7: the metric accuracy measures task: classification, not regression`}},
	{"alias", "[no, yes]", "[&a no, *a]", []string{`20:10: a name of a class: anchors and aliases are not supported`, `20:17: a name of a class: anchors and aliases are not supported`}},
	{"tag", "name: pair", "name: !!binary cGFpcg==", []string{`2:7: name: the tag !!binary is not supported`}},
	{"second document", "labels: [", "---\nlabels: [", []string{`20:1: a second document begins here; the file must be one document`}},
	{"syntax", "labels: [no, yes]", "labels: [no, yes", []string{`20:1: not YAML: did not find expected ',' or ']'`}},
	{"syntax of a token", "name: pair", "name: pair: x", []string{`2:1: not YAML: mapping values are not allowed in this context`}},
	{"syntax of a list", "  - {name: all", "  -- {name: all", []string{`18:1: not YAML: did not find expected '-' indicator`}},
	{"tab", "  max_batch", "\tmax_batch", []string{`22:1: not YAML: found character that cannot start any token`}},
	{"shape of all graphs", "shape: [2, 2], media: image", "shape: [2, 3], media: image", []string{
		`10:47: image is declared [2,3], but is [2,2] after the batch dimension in variants image, all`,
		`25:12: evaluation set eval/profile.npz: array "image" has shape [4,2,2]; it must be the number of samples, then [2,3]`,
		`26:12: evaluation set eval/heldout.npz: array "image" has shape [3,2,2]; it must be the number of samples, then [2,3]`}},
	{"no modalities", "modalities:\n  - name: image\n", "modalities: 3\nx:\n  - name: image\n", []string{
		`7:13: modalities must be a list, not "3"`,
		`8:1: the package has no key "x"; known: format, name, version, description, task, metric, modalities, outputs, stages, variants, classes, labels, limits, evaluation, isolation, cascades, gates`}},
	{"evaluation missing", "eval/heldout.npz", "eval/other.npz", []string{`26:12: evaluation set eval/other.npz: no such file or directory`}},
	{"evaluation twice", "eval/heldout.npz", "eval/profile.npz", []string{`26:12: evaluation set eval/profile.npz is the same as eval/profile.npz; held-out samples must be different`}},
	{"graph missing", "onnx/all.onnx", "onnx/full.onnx", []string{`19:51: variant all: onnx/full.onnx: no such file or directory`}},
	{"graph is a folder", "onnx/all.onnx", "onnx", []string{`19:51: variant all: onnx: not a regular file`}},
	{"not a graph", "onnx/all.onnx", "onnx/loop.bin", []string{`19:51: variant all: onnx/loop.bin: not an ONNX model: field number 0 at byte 1`}},
	{"several, in order", "name: pair\nversion: 1.10\n", "name: a b\nverion: 1\ntask: none\n",
		[]string{`2:7: the name "a b" must be ` + nameWant, `3:1: the package has no key "verion"; did you mean "version"?`,
			`4:7: the task "none" is not supported; known: classification, regression, multilabel, token_classification, retrieval, other`, `6:1: the package has task twice; the first is on line 4`}},
}

func TestYAMLProblems(t *testing.T) {
	for _, c := range yamlProblems {
		t.Run(c.name, func(t *testing.T) {
			dir := writePackage(t)
			broken := strings.Replace(goodYAML, c.old, c.new, 1)
			if broken == goodYAML {
				t.Fatal("nothing was replaced")
			}
			write(t, dir, FileName, []byte(broken))
			if got := lines(dir, Check(dir)); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestGraphProblems changes the graphs of a valid mosel.yaml.
func TestGraphProblems(t *testing.T) {
	for _, c := range []struct {
		name  string
		graph graphSpec // of variant image
		want  []string
	}{
		{"weights listed as inputs", graphSpec{17, []value{{"w0", 1, []int64{2}}, imageIn}, []value{scores}, []weight{inside}, nil}, nil},
		{"shapes left open", graphSpec{9, []value{{"image", 2, nil}}, []value{{"scores", 1, nil}}, nil, nil}, nil},
		{"more outputs", graphSpec{17, []value{imageIn}, []value{{"hidden", 1, nil}, scores}, nil, nil}, nil},
		{"old opset", graphSpec{6, []value{imageIn}, []value{scores}, nil, nil},
			[]string{`18:46: variant image: onnx/image.onnx has opset 6; at least 7 is needed, 17 is advised`}},
		{"input name", graphSpec{17, []value{{"img", 2, []int64{-1, 2, 2}}}, []value{scores}, nil, nil}, []string{
			`18:46: variant image: onnx/image.onnx has no input "image"; it has img`,
			`18:46: variant image: onnx/image.onnx needs an input "img" that no modality declares`}},
		{"input of another modality", graphSpec{17, []value{imageIn, gainIn}, []value{scores}, nil, nil},
			[]string{`18:46: variant image: onnx/image.onnx needs the input "gain" of modality sound, which the variant does not name`}},
		{"datatype", graphSpec{17, []value{{"image", 1, []int64{-1, 2, 2}}}, []value{scores}, nil, nil},
			[]string{`10:33: image is declared UINT8, but is FP32 in variant image (onnx/image.onnx)`}},
		{"unknown datatype", graphSpec{17, []value{{"image", 99, []int64{-1, 2, 2}}}, []value{scores}, nil, nil},
			[]string{`10:33: image is declared UINT8, but is of ONNX type tensor(type 99), which mosel does not serve in variant image (onnx/image.onnx)`}},
		{"shape", graphSpec{17, []value{{"image", 2, []int64{-1, 4}}}, []value{{"scores", 1, []int64{-1, 3}}}, nil, nil}, []string{
			`10:47: image is declared [2,2], but is [4] after the batch dimension in variant image (onnx/image.onnx)`,
			`16:43: scores is declared [2], but is [3] after the batch dimension in variant image (onnx/image.onnx)`}},
		{"fixed batch", graphSpec{17, []value{{"image", 2, []int64{1, 2, 2}}}, []value{scores}, nil, nil}, []string{
			`10:47: the batch dimension of image must be dynamic (or 1 with limits.max_batch: 1), but is 1 in variant image (onnx/image.onnx)`}},
		{"no batch", graphSpec{17, []value{{"image", 2, []int64{}}}, []value{scores}, nil, nil},
			[]string{`10:47: image must have the batch as its first dimension (or batched: false, if one value holds for a whole batch), but has no dimensions in variant image (onnx/image.onnx)`}},
		{"output name", graphSpec{17, []value{imageIn}, []value{{"logits", 1, nil}}, nil, nil},
			[]string{`18:46: variant image: onnx/image.onnx has no output "scores"; it has logits`}},
		{"external file missing", graphSpec{17, []value{imageIn}, []value{scores}, []weight{{"w", "gone.bin", "0", "1"}}, nil},
			[]string{`18:46: variant image: onnx/image.onnx keeps weights in gone.bin: no such file or directory`}},
		{"external file short", graphSpec{17, []value{imageIn}, []value{scores}, []weight{{"w", "weights.bin", "4096", "4096"}}, nil},
			[]string{`18:46: variant image: onnx/image.onnx needs 8192 bytes of weights.bin, which has only 4496`}},
		{"external file outside", graphSpec{17, []value{imageIn}, []value{scores}, []weight{{"w", "../../etc/passwd", "0", "1"}}, nil},
			[]string{`18:46: variant image: onnx/image.onnx keeps weights in "../../etc/passwd", which has ".."; it must stay inside the package`}},
		{"external memory address", graphSpec{17, []value{imageIn}, []value{scores}, nil, []weight{{"w", "*/_ORT_MEM_ADDR_/*", "4096", "1"}}},
			[]string{`18:46: variant image: onnx/image.onnx keeps weights in */_ORT_MEM_ADDR_/*: no such file or directory`}},
		{"negative offset", graphSpec{17, []value{imageIn}, []value{scores}, []weight{{"w", "weights.bin", "-1", "1"}}, nil},
			[]string{`18:46: variant image: onnx/image.onnx: not an ONNX model: tensor "w": external data at -1 + 1`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := writePackage(t)
			write(t, dir, "onnx/image.onnx", c.graph.encode())
			if got := lines(dir, Check(dir)); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestFixedBatchOfOne(t *testing.T) {
	dir := writePackage(t)
	write(t, dir, FileName, []byte(strings.Replace(goodYAML, "max_batch: 8", "max_batch: 1", 1)))
	write(t, dir, "onnx/image.onnx", graphSpec{17, []value{{"image", 2, []int64{1, 2, 2}}}, []value{scores}, nil, nil}.encode())
	if problems := Check(dir); len(problems) > 0 {
		t.Error(problems)
	}
}

// TestEscapes checks that no link leads out of the package, not even through a graph.
func TestEscapes(t *testing.T) {
	dir, other := writePackage(t), t.TempDir()
	for _, name := range []string{"onnx/all.onnx", "onnx/weights.bin", "eval/profile.npz"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		outside := filepath.Join(other, filepath.Base(name))
		if err := os.Rename(path, outside); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, path); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	want := []string{
		`18:46: variant image: onnx/image.onnx keeps weights in weights.bin: a link leads out of the package (links must be relative, and stay inside the package or the models directory)`,
		`19:51: variant all: onnx/all.onnx: a link leads out of the package (links must be relative, and stay inside the package or the models directory)`,
		`25:12: evaluation set eval/profile.npz: a link leads out of the package (links must be relative, and stay inside the package or the models directory)`,
	}
	if got := lines(dir, Check(dir)); !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestLoadErrors(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none")); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("no directory: %v", err)
	}
	empty := t.TempDir()
	if _, err := Load(empty); slo.KindOf(err) != slo.KindNotFound {
		t.Errorf("no mosel.yaml: %v", err)
	}
	write(t, empty, FileName, nil)
	_, err := Load(empty)
	var problems Problems
	if slo.KindOf(err) != slo.KindInvalid || !errors.As(err, &problems) || problems[0].Message != "the file is empty" {
		t.Errorf("empty mosel.yaml: %v", err)
	}
	write(t, empty, FileName, make([]byte, yamlBytesMax+1))
	if _, err := Load(empty); err == nil || !strings.Contains(err.Error(), "is larger than 1048576 bytes") {
		t.Errorf("large mosel.yaml: %v", err)
	}
}

func TestDigest(t *testing.T) {
	dir := writePackage(t)
	digest := func() string {
		m, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return m.Digest
	}
	first := digest()
	var manifest string
	for _, name := range []string{FileName, "onnx/all.onnx", "onnx/image.onnx", "onnx/loop.bin", "onnx/weights.bin"} {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		manifest += fmt.Sprintf("%x  %s\n", sha256.Sum256(content), name)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))); first != want {
		t.Errorf("digest %s, want %s", first, want)
	}
	write(t, dir, "eval/profile.npz", npz(t, setArrays(2)))
	write(t, dir, "profiles/x.json", []byte("{}"))
	write(t, dir, "onnx/unused.bin", []byte("x"))
	if digest() != first {
		t.Error("the digest depends on evaluation sets, profiles or files that no graph reads")
	}
	write(t, dir, "onnx/weights.bin", append(make([]byte, 4495), 1))
	if digest() == first {
		t.Error("other weights have the same digest")
	}
}

func TestProblemsAreBounded(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	write(t, dir, FileName, []byte(b.String()))
	if got := len(Check(dir)); got != strictyaml.ProblemsMax {
		t.Errorf("%d problems", got)
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte("a: &a [*a]\n<<: *a"))
	f.Add([]byte("? [x]\n: y\n--- !!map {}\n"))
	f.Add([]byte("metric: {name: top_k, k: 5}\noutputs: [{name: y, datatype: FP32, shape: [3]}]\n"))
	f.Add([]byte("metric: {name: [x], name: binary, threshold: .inf}\noutputs: [{shape: []}]"))
	f.Add([]byte("{name: !<!x> y, variants: [{modalities: [x]}], outputs: [{shape: [-1]}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newReport(FileName)
		s := r.readSpec(text)
		r.build(&s)
		for _, p := range r.Sorted() {
			if p.Line < 1 || p.Message == "" {
				t.Errorf("no place or no message: %v", p)
			}
		}
	})
}

func FuzzONNX(f *testing.F) {
	f.Add(imageOne.encode())
	f.Add(allOne.encode())
	f.Add(graphSpec{17, []value{waveIn}, []value{scores}, nil, []weight{{"w", "x", "1", "9223372036854775807"}}}.encode())
	f.Fuzz(func(t *testing.T, file []byte) {
		g, err := readGraph(strings.NewReader(string(file)), int64(len(file)))
		if err == nil && g.opset == 0 {
			t.Error("a model without opset")
		}
		if err != nil && !errors.Is(err, errONNX) {
			t.Errorf("another error: %v", err)
		}
	})
}
