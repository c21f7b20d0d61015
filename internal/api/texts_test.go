package api

import (
	"encoding/binary"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/engine"
	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// spoken is a model that takes one text and gives one; what the stand-in answers depends
// on the text.
func spoken() engine.Served {
	m := &modelpkg.Model{
		Name: "spoken", Version: "1",
		Modalities: []modelpkg.Modality{{Name: "x", Inputs: []int{0}}},
		Inputs:     []modelpkg.Input{{Spec: modelpkg.Spec{Name: "x", DType: tensor.Bytes, Shape: tensor.Shape{1}}, BytesMax: 10}},
		Outputs:    []modelpkg.Spec{{Name: "y", DType: tensor.Bytes, Shape: tensor.Shape{1}}},
		Variants:   []modelpkg.Variant{{Name: "x", Modalities: 1, Inputs: []int{0}}},
		Limits:     modelpkg.Limits{BatchItemsMax: 8},
	}
	return engine.Served{Model: m, Profile: profile(m, []float64{0.9}, []float64{1})}
}

// echoOf is what the stand-in answers to a text.
func echoOf(text string) string {
	x := append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
	return string(fake.Row(spoken().Model, 0, 0, [][]byte{x})[4:])
}

const textsPath = "/v2/models/spoken/infer"

// TestTextsOverREST sends texts as JSON, in binary form and as a whole body.
func TestTextsOverREST(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		w := f.call("POST", textsPath, `{"inputs":[{"name":"x","shape":[3,1],"datatype":"BYTES","data":[["né"],["long text"],[""]]}]}`)
		if want := `"shape":[3,1],"datatype":"BYTES","data":["` + echoOf("né") + `","` + echoOf("long text") + `","` + echoOf("") + `"]`; w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, want)
		}
		head := `{"inputs":[{"name":"x","shape":[2,1],"datatype":"BYTES","parameters":{"binary_data_size":11}}]}`
		w = f.call("POST", textsPath, head+"\x02\x00\x00\x00\x00\xff\x01\x00\x00\x00z", "Inference-Header-Content-Length: "+strconv.Itoa(len(head)))
		if want := `"` + echoOf("\x00\xff") + `","` + echoOf("z") + `"`; w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, want)
		}
		w = f.call("POST", textsPath, "né", "Inference-Header-Content-Length: 0")
		if !strings.HasSuffix(w.Body.String(), "\x08\x00\x00\x00"+echoOf("né")) {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		for _, c := range []struct{ body, want string }{
			{`{"inputs":[{"name":"x","shape":[2,1],"datatype":"BYTES","data":["a","12345678901"]}]}`,
				`item 1: input \"x\": element 0 has 11 bytes, but the model takes at most 10 (max_bytes in its package)`},
			{`{"inputs":[{"name":"x","shape":[1,1],"datatype":"UINT8","data":[1]}]}`, `input \"x\" has datatype BYTES, but UINT8 was sent`},
			{`{"inputs":[{"name":"x","shape":[1,1],"datatype":"BYTES","data":[1]}]}`, `element 0`},
			{`{"inputs":[{"name":"x","shape":[1,2],"datatype":"BYTES","data":["a","b"]}]}`, `input \"x\" has shape [items,1], but [1,2] was sent`},
		} {
			if w := f.call("POST", textsPath, c.body); w.Code != 400 || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%s: %d %s, want %s", c.body, w.Code, w.Body, c.want)
			}
		}
	})
}

// TestTextsOverGRPC sends texts as typed and as raw contents.
func TestTextsOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{})
	input := &inference.ModelInferRequest_InferInputTensor{Name: "x", Datatype: "BYTES", Shape: []int64{2, 1},
		Contents: &inference.InferTensorContents{BytesContents: [][]byte{[]byte("a\x00"), nil}}}
	want := "\x08\x00\x00\x00" + echoOf("a\x00") + "\x08\x00\x00\x00" + echoOf("")
	for _, raw := range []bool{false, true} {
		q := &inference.ModelInferRequest{ModelName: "spoken", Inputs: []*inference.ModelInferRequest_InferInputTensor{input}}
		if raw {
			input.Contents = nil
			q.RawInputContents = [][]byte{[]byte("\x02\x00\x00\x00a\x00\x00\x00\x00\x00")}
		}
		r, err := d.ModelInfer(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.RawOutputContents[0]); got != want || r.Outputs[0].Datatype != "BYTES" {
			t.Errorf("raw %v: %q, want %q", raw, got, want)
		}
	}
	input.Contents = &inference.InferTensorContents{BytesContents: [][]byte{nil, []byte("12345678901")}}
	_, err := d.ModelInfer(t.Context(), &inference.ModelInferRequest{ModelName: "spoken", Inputs: []*inference.ModelInferRequest_InferInputTensor{input}})
	if err == nil || !strings.Contains(err.Error(), `item 1: input "x": element 0 has 11 bytes`) {
		t.Errorf("%v", err)
	}
}
