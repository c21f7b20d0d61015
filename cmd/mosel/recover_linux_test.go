package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/client/clientgrpc"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestRecovery serves models/mfeat and asks with one view, over REST and gRPC: the server
// recovers the others unless the request excludes it, and says which the answer uses.
func TestRecovery(t *testing.T) {
	needRuntime(t)
	dir, err := filepath.Abs("../../models/mfeat")
	if err != nil {
		t.Fatal(err)
	}
	models := filepath.Join(t.TempDir(), "models")
	if err := os.CopyFS(filepath.Join(models, "mfeat"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{".json", ".samples.npz", ".svg"} { // serveDir serves with the profile of this device
		if err := os.Rename(filepath.Join(models, "mfeat/profiles/cpu"+end), filepath.Join(models, "mfeat/profiles/test"+end)); err != nil {
			t.Fatal(err)
		}
	}
	profile := filepath.Join(models, "mfeat/profiles/test.json")
	text, err := os.ReadFile(profile)
	if err == nil {
		err = os.WriteFile(profile, bytes.Replace(text, []byte(`"device": "cpu"`), []byte(`"device": "test"`), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := modelpkg.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := modelpkg.OpenSet(m.File(m.Evaluation.HeldOut), m)
	if err != nil {
		t.Fatal(err)
	}
	s := serveDir(t, models)
	const items, view = 4, 5 // of zer
	input := tensor.Tensor{Name: "zer", DType: tensor.FP32, Shape: tensor.Shape{items, 47}}
	for i := range items {
		input.Data = append(input.Data, set.Item(i)[view]...)
	}
	for _, addr := range []string{"http://" + s.Addr().String(), "grpc://" + s.GRPCAddr().String()} {
		c, err := client.New(addr, client.Options{GRPC: clientgrpc.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		with, err := c.Infer(t.Context(), client.Request{Model: "mfeat", Inputs: []tensor.Tensor{input}, MinAccuracy: 0.82})
		if err != nil {
			t.Fatal(err)
		}
		if with.Variant != "zer_recover" || !slices.Equal(with.Modalities, []string{"zer"}) || with.Recovered != "fac;fou;kar;mor;pix" {
			t.Errorf("%s: ran %s on %v, recovered %q", addr, with.Variant, with.Modalities, with.Recovered)
		}
		if want := namedIn(with, m.ModalityNames()); with.Trusted != want || want == "" {
			t.Errorf("%s: trusted %q, the output says %q", addr, with.Trusted, want)
		}
		without, err := c.Infer(t.Context(), client.Request{Model: "mfeat", Inputs: []tensor.Tensor{input}, NoRecovery: true})
		if err != nil {
			t.Fatal(err)
		}
		if without.Variant != "zer" || without.Recovered != "" || without.Trusted != "" || bytes.Equal(without.Outputs[0].Data, with.Outputs[0].Data) {
			t.Errorf("%s, without recovery: ran %s, recovered %q", addr, without.Variant, without.Recovered)
		}
		// A recovered view does not count as present: the floor of what is present holds.
		if _, err := c.Infer(t.Context(), client.Request{Model: "mfeat", Inputs: []tensor.Tensor{input}, NoRecovery: true, MinAccuracy: 0.82}); err == nil || !strings.Contains(err.Error(), "0.816") {
			t.Errorf("%s, a floor that needs recovery: %v", addr, err)
		}
	}
}

// namedIn lists the modalities that the output trusted of an answer names, by item.
func namedIn(answer *client.Response, names []string) string {
	out, _ := answer.Output("trusted")
	var parts []string
	for k, name := range names {
		var list []int
		for i := range out.Rows() {
			if out.Row(i)[k] != 0 {
				list = append(list, i)
			}
		}
		switch {
		case len(list) == out.Rows():
			parts = append(parts, name)
		case len(list) > 0:
			parts = append(parts, name+":"+oip.FormatItems(list))
		}
	}
	return strings.Join(parts, ";")
}
