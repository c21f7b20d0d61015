package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/oip/inference"
)

// pictureOf is a PNG of 2x2 gray pixels.
func pictureOf(t testing.TB, pixels ...uint8) string {
	t.Helper()
	p := image.NewGray(image.Rect(0, 0, 2, 2))
	for i, v := range pixels {
		p.SetGray(i%2, i/2, color.Gray{Y: v})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// soundOf is a WAV file of 16-bit samples at 8 kHz.
func soundOf(samples ...int16) string {
	data := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(36+2*len(samples)))
	data = append(data, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data"...)
	data = binary.LittleEndian.AppendUint32(data, uint32(2*len(samples)))
	for _, s := range samples {
		data = binary.LittleEndian.AppendUint16(data, uint16(s))
	}
	return string(data)
}

func elements(files ...string) (data string) {
	for _, f := range files {
		data += string(binary.LittleEndian.AppendUint32(nil, uint32(len(f)))) + f
	}
	return data
}

// sent is an input with its bytes.
type sent struct{ name, dtype, shape, data string }

// askBinary sends inputs in binary form.
func (f fixture) askBinary(parameters string, inputs ...sent) (int, string) {
	var heads []string
	data := ""
	for _, in := range inputs {
		heads = append(heads, fmt.Sprintf(`{"name":%q,"shape":%s,"datatype":%q,"parameters":{"binary_data_size":%d}}`, in.name, in.shape, in.dtype, len(in.data)))
		data += in.data
	}
	head := ask(parameters, heads...)
	w := f.call("POST", inferPath, head+data, "Inference-Header-Content-Length: "+strconv.Itoa(len(head)))
	return w.Code, w.Body.String()
}

// scoresOf are the scores and the parameters of an answer.
func scoresOf(t *testing.T, body string) (scores []float64, parameters map[string]any) {
	t.Helper()
	var answer struct {
		Parameters map[string]any
		Outputs    []struct{ Data []float64 }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Outputs) != 1 {
		t.Fatalf("%s: %v", body, err)
	}
	return answer.Outputs[0].Data, answer.Parameters
}

// TestFilesGiveTheAnswersOfTensors sends the same items as tensors and as files.
func TestFilesGiveTheAnswersOfTensors(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		chars := sent{"chars", "UINT8", "[2,3]", "abcdef"}
		mask := sent{"mask", "BOOL", "[2,3]", "\x01\x01\x01\x01\x01\x00"}
		code, body := f.askBinary(`"min_accuracy":0.97`, sent{"image", "UINT8", "[2,2,2]", "\x01\x02\x03\x04\x05\x06\x07\x08"},
			sent{"audio", "INT16", "[2,3]", "\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00"}, chars, mask)
		if code != 200 {
			t.Fatal(code, body)
		}
		want, _ := scoresOf(t, body)
		for _, shape := range []string{"[2]", "[2,1]"} {
			code, body := f.askBinary(`"min_accuracy":0.97`, sent{"image", "BYTES", shape, elements(pictureOf(t, 1, 2, 3, 4), pictureOf(t, 5, 6, 7, 8))},
				sent{"audio", "BYTES", shape, elements(soundOf(1, 2, 3), soundOf(4, 5, 6))}, chars, mask)
			if code != 200 {
				t.Fatal(code, body)
			}
			if got, p := scoresOf(t, body); fmt.Sprint(got) != fmt.Sprint(want) || p["variant"] != "all" {
				t.Errorf("%s: %v, want %v; %v", shape, got, want, p)
			}
		}
	})
}

// TestFilesThatAreNotUsed sends a broken recording where only the picture is run: nobody
// looks at it.
func TestFilesThatAreNotUsed(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		code, body := f.askBinary(`"min_accuracy":0.7,"modalities":"image"`, sent{"image", "BYTES", "[1]", elements(pictureOf(t, 1, 2, 3, 4))}, sent{"audio", "BYTES", "[1]", elements("noise")})
		if code != 200 || !strings.Contains(body, `"variant":"image"`) {
			t.Errorf("%d %s", code, body)
		}
	})
}

// TestBrokenFiles sends files that cannot be read: each fails its own item.
func TestBrokenFiles(t *testing.T) {
	with(t, setup{}, func(f fixture) {
		good := pictureOf(t, 1, 2, 3, 4)
		code, body := f.askBinary(`"min_accuracy":0.7`, sent{"image", "BYTES", "[4]", elements(good, "no picture", good, good[:40])})
		if code != 200 {
			t.Fatal(code, body)
		}
		scores, p := scoresOf(t, body)
		if p["failed_items"] != "1,3" || !strings.HasPrefix(p["failed_reason"].(string), `item 1: input "image": not a PNG, JPEG or WebP image`) {
			t.Errorf("%v", p)
		}
		if scores[0] != scores[4] || scores[1] != scores[5] || scores[0]+scores[1] != 1 || scores[2]+scores[3] != 0 {
			t.Errorf("%v", scores)
		}
		for _, c := range []struct {
			in   sent
			want string
		}{
			{sent{"image", "BYTES", "[1]", elements("no picture")}, `infer scene: item 0: input \"image\": not a PNG, JPEG or WebP image`},
			{sent{"image", "BYTES", "[2]", elements("", "x")}, `item 0: input \"image\": not a PNG, JPEG or WebP image`},
			{sent{"image", "BYTES", "[1,2]", elements(good, good)}, `input \"image\" takes files as BYTES [items], one for each item, or UINT8 [items,2,2], but BYTES [1,2] was sent`},
			{sent{"chars", "BYTES", "[1]", elements("abc")}, `input \"chars\" has datatype UINT8, but BYTES was sent`},
		} {
			if code, body := f.askBinary(`"min_accuracy":0.7`, c.in); code != 400 || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %s", code, body, c.want)
			}
		}
	})
}

// TestFilesOverGRPC sends a picture as raw contents and as typed ones.
func TestFilesOverGRPC(t *testing.T) {
	d := grpcAPI(t, setup{})
	input := &inference.ModelInferRequest_InferInputTensor{Name: "image", Datatype: "BYTES", Shape: []int64{1},
		Contents: &inference.InferTensorContents{BytesContents: [][]byte{[]byte(pictureOf(t, 1, 2, 3, 4))}}}
	q := &inference.ModelInferRequest{ModelName: "scene", Inputs: []*inference.ModelInferRequest_InferInputTensor{input}}
	typed, err := d.ModelInfer(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	q.RawInputContents = [][]byte{[]byte(elements(string(input.Contents.BytesContents[0])))}
	input.Contents = nil
	raw, err := d.ModelInfer(t.Context(), q)
	if err != nil || !bytes.Equal(raw.RawOutputContents[0], typed.RawOutputContents[0]) {
		t.Errorf("%v, %v", raw, err)
	}
	q.RawInputContents = [][]byte{[]byte(elements("GIF89a"))}
	if _, err := d.ModelInfer(t.Context(), q); err == nil || !strings.Contains(err.Error(), "InvalidArgument") || !strings.Contains(err.Error(), "but GIF") {
		t.Errorf("%v", err)
	}
}
