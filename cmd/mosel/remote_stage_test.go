package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/modelpkg/modelpkgtest"
	"github.com/mosel-serve/mosel/tensor"
)

// TestRemoteStagePackage checks and profiles a late-fusion package whose picture's encoder
// runs on another mosel, and compares it with the same package with all stages here.
func TestRemoteStagePackage(t *testing.T) {
	needRuntime(t)
	fusion := modelpkgtest.Fusion{Staged: true, BatchItemsMax: 8, Subsets: [][]int{{0}, {0, 1}}, Samples: 40,
		Encoders: []modelpkgtest.Encoder{{Name: "text", Width: 8, Layers: 2}, {Name: "image", Width: 16, Layers: 2}}}
	there := serveDir(t, encoderOf(t, fusion))
	address := there.GRPCAddr().String()
	var means []string
	var split string
	for _, remote := range []map[string]string{nil, {"image": "grpc://" + address + "/image"}} {
		fusion.Remote = remote
		split = t.TempDir()
		if _, err := fusion.Write(split); err != nil {
			t.Fatal(err)
		}
		if out, err := runMosel("check", split); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		p, out := profiled(t, split)
		if len(p.Stages) != 4 || p.Stages[1].Name != "image" || p.Variants[1].Sum == nil || !strings.Contains(out, "image") {
			t.Errorf("stages %+v, variant %+v\n%s", p.Stages, p.Variants[1], out)
		}
		means = append(means, fmt.Sprint(p.Variants[0].Accuracy, p.Variants[1].Accuracy))
	}
	if means[0] != means[1] {
		t.Errorf("accuracies with all stages here %s, with one there %s", means[0], means[1])
	}
	checkMistakes(t, split, address)
	if err := there.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out, err := runMosel("check", split); err != nil || !strings.Contains(out, "variant text_image, stage image: its server grpc://"+address+" cannot be asked") {
		t.Errorf("check while the server is away: %v\n%s", err, out)
	}
	if out, err := runMosel("profile", split, "--quick", "--fresh", "--device", "away"); err == nil || !strings.Contains(err.Error(), "stage image: its server") {
		t.Errorf("profile while the server is away: %v\n%s", err, out)
	}
}

// encoderOf writes a package of the picture's encoder alone into a directory of models.
func encoderOf(t *testing.T, f modelpkgtest.Fusion) (models string) {
	t.Helper()
	models = t.TempDir()
	dir := filepath.Join(models, "image")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := f.Encoders[1].Write(dir, 8)
	if err != nil {
		t.Fatal(err)
	}
	if err := modelpkgtest.WriteProfile(m, []modelpkgtest.Measured{{Accuracy: 0.9, Item: time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	made, err := modelpkg.FindProfile(m, "")
	if err != nil {
		t.Fatal(err)
	}
	made.Device = "test"
	if err := made.Save(m.ProfilePath(made.Device)); err != nil {
		t.Fatal(err)
	}
	return models
}

// checkMistakes checks the package with mistakes that only its server sees.
func checkMistakes(t *testing.T, split, address string) {
	t.Helper()
	file := filepath.Join(split, modelpkg.FileName)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g := new(modelpkgtest.Graph) // a head that takes features of any width
	g.Input("text_features", tensor.FP32, modelpkgtest.Batch, 8)
	g.Input("image_features", tensor.FP32, modelpkgtest.Batch, -1)
	g.Node("ReduceMean", []string{"image_features"}, []string{"mean"}, modelpkgtest.Integers("axes", 1))
	g.Weight("w", tensor.FP32, floats(1, 2, 3), 1, 3)
	g.Node("MatMul", []string{"mean", "w"}, []string{"logits"})
	g.Node("Softmax", []string{"logits"}, []string{"scores"}, modelpkgtest.Integer("axis", 1))
	g.Output("scores", tensor.FP32, modelpkgtest.Batch, 3)
	if err := os.WriteFile(filepath.Join(split, "any.onnx"), g.File(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(split, "profiles")); err != nil {
		t.Fatal(err)
	}
	const before = "variant text_image: it cannot be loaded: load fusion: variant text_image, stage image: "
	for _, c := range []struct{ from, to, want string }{
		{"image_features, datatype: FP32, shape: [16]", "image_features, datatype: FP32, shape: [12]", before + "the model image of grpc://" + address +
			` does not fit the package: output "image_features" has the shape [16] there and [12] in the package`},
		{address + "/image,", address + "/words,", before + "grpc://" + address + " has no model words"},
	} {
		wrong := strings.Replace(strings.Replace(string(text), c.from, c.to, 1), "path: text_image_head.onnx", "path: any.onnx", 1)
		if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := runMosel("check", split); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%v\n%s\nwant %s", err, out, c.want)
		}
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
