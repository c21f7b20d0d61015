package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/slo"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// recovering is scene with a variant that recovers audio and text from the image, and one
// that recovers the image from audio, on which no other variant runs alone.
func recovering() *modelpkg.Model {
	m := scene().Model
	m.Outputs = append(m.Outputs, modelpkg.Spec{Name: modelpkg.TrustedOutput, DType: tensor.Uint8, Shape: tensor.Shape{3}})
	m.Variants = append(m.Variants, modelpkg.Variant{Name: "image_recover", Modalities: 1, Inputs: []int{0}, Recovers: 6},
		modelpkg.Variant{Name: "audio_recover", Modalities: 2, Inputs: []int{1}, Recovers: 1})
	return m
}

// TestRecovered checks what an answer says about recovered modalities, by item.
func TestRecovered(t *testing.T) {
	m := recovering()
	trusted := func(rows ...byte) []tensor.Tensor {
		return []tensor.Tensor{{}, {}, {Name: modelpkg.TrustedOutput, DType: tensor.Uint8, Shape: tensor.Shape{int64(len(rows) / 3), 3}, Data: rows}}
	}
	for name, c := range map[string]struct {
		variants []int
		rows     []byte
		failed   []engine.ItemError
		want     string
	}{
		"no recovery":                {[]int{0, 3}, []byte{1, 1, 1, 1, 1, 1}, nil, ""},
		"all items":                  {[]int{4, 4}, []byte{0, 1, 0, 0, 1, 0}, nil, "recovered=audio;text trusted=audio"},
		"nothing is trusted":         {[]int{4}, []byte{0, 0, 0}, nil, "recovered=audio;text"},
		"some items":                 {[]int{4, 0, 4, 5}, []byte{0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0}, nil, "recovered=image:3;audio:0,2;text:0,2 trusted=image:3;audio:0;text:0,2"},
		"more than was recovered":    {[]int{5}, []byte{7, 7, 7}, nil, "recovered=image trusted=image"},
		"an item without an answer":  {[]int{4, 4}, []byte{0, 1, 1, 0, 1, 1}, []engine.ItemError{{Item: 0}}, "recovered=audio:1;text:1 trusted=audio:1;text:1"},
		"no item that has an answer": {[]int{4, 0}, []byte{0, 1, 1, 0, 0, 0}, []engine.ItemError{{Item: 0}}, ""},
	} {
		var list []string
		for _, p := range recovery(m, engine.Response{Variants: c.variants, Outputs: trusted(c.rows...), Failed: c.failed}) {
			list = append(list, p.Name+"="+p.Value.Text())
		}
		if got := strings.Join(list, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if p := recovery(scene().Model, engine.Response{Variants: []int{0}}); p != nil {
		t.Errorf("a model that recovers nothing: %v", p)
	}
}

// TestPrimary checks what an answer says about the modality that decided, by item.
func TestPrimary(t *testing.T) {
	m := *scene().Model
	m.Outputs = append(slices.Clone(m.Outputs), modelpkg.Spec{Name: modelpkg.WeightsOutput, DType: tensor.FP32, Shape: tensor.Shape{int64(len(m.Modalities))}})
	at := len(m.Outputs) - 1
	outputs := make([]tensor.Tensor, len(m.Outputs))
	var err error
	if outputs[at], err = tensor.Of(modelpkg.WeightsOutput, tensor.Shape{3, 3}, []float32{0.5, 0.2, 0.3, 0.1, 0.2, 0.7, 0.4, 0.35, 0.25}); err != nil {
		t.Fatal(err)
	}
	r := engine.Response{Variants: []int{0, 0, 0}, Outputs: outputs}
	if p := primary(&m, r); len(p) != 1 || p[0].Name != "primary_modality" || p[0].Value.Text() != "image:0,2;text:1" {
		t.Errorf("%v", p)
	}
	r.Failed = []engine.ItemError{{Item: 2}}
	if p := primary(&m, r); len(p) != 1 || p[0].Value.Text() != "image:0;text:1" {
		t.Errorf("with an item that failed: %v", p)
	}
	if p := primary(scene().Model, r); p != nil {
		t.Errorf("a model without weights: %v", p)
	}
}

// TestRecoverParameter checks how requests exclude recovery, and what is refused then.
func TestRecoverParameter(t *testing.T) {
	for value, want := range map[oip.Value]bool{oip.Bool(true): false, oip.Bool(false): true} {
		o, err := objective(oip.Parameters{{Name: "recover", Value: value}}, http.Header{}, 0, 0)
		if err != nil || o.NoRecovery != want {
			t.Errorf("recover %v: %+v, %v", value, o, err)
		}
	}
	for _, value := range []oip.Value{oip.String("false"), oip.Int(0), oip.Null()} {
		if _, err := objective(oip.Parameters{{Name: "recover", Value: value}}, http.Header{}, 0, 0); slo.KindOf(err) != slo.KindInvalid || !strings.Contains(err.Error(), "it must be true or false") {
			t.Errorf("recover %v: %v", value, err)
		}
	}
	m := recovering()
	audio := carried{union: 2, every: 2}
	if err := audio.check(m, false); err != nil {
		t.Errorf("audio alone, with recovery: %v", err)
	}
	if err := audio.check(m, true); err == nil || err.Error() != "scene cannot run on audio alone without recovery: it runs on image, text, image+text, image+audio+text" {
		t.Errorf("audio alone, without: %v", err)
	}
	mixed := carried{union: 3, items: []slo.Modalities{1, 2}}
	if err := mixed.check(m, true); err == nil || !strings.Contains(err.Error(), "item 1 carries audio alone: scene runs without recovery on image, text") {
		t.Errorf("audio alone in item 1: %v", err)
	}
	only := oip.Parameters{{Name: "modalities", Value: oip.String("audio")}}
	if set, err := choice(only, m, audio, false); err != nil || set != 2 {
		t.Errorf("modalities audio: %b, %v", set, err)
	}
	if _, err := choice(only, m, audio, true); err == nil || !strings.Contains(err.Error(), "no variant that runs on exactly audio") {
		t.Errorf("modalities audio, without recovery: %v", err)
	}
	if p := properties(engine.Served{Model: m, Profile: new(modelpkg.Profile)}); p["recovers.image_recover"] != "audio,text" || !slices.Contains(strings.Split(p["variants"], ","), "audio_recover") {
		t.Errorf("properties %v", p)
	}
}
