package api

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/oip/inference"
	"github.com/mosel-serve/mosel/tensor"
)

// roots answers the items of single with the square roots of their two numbers, NaN for
// negative ones.
func roots(r fake.Run) ([]tensor.Tensor, error) {
	n := int64(len(r.Items))
	if r.Model != "single" {
		return []tensor.Tensor{{Name: "scores", DType: tensor.FP32, Shape: tensor.Shape{n, 2}, Data: make([]byte, 8*n)},
			{Name: "half", DType: tensor.FP16, Shape: tensor.Shape{n, 1}, Data: make([]byte, 2*n)}}, nil
	}
	y := tensor.Tensor{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{n, 2}}
	for _, item := range r.Items {
		for k := range 2 {
			x := float64(int16(binary.LittleEndian.Uint16(item[0][2*k:])))
			y.Data = binary.LittleEndian.AppendUint32(y.Data, math.Float32bits(float32(math.Sqrt(x))))
		}
	}
	return []tensor.Tensor{y}, nil
}

// TestItemsThatFail checks that an item whose output is not finite fails alone: the
// others are answered, and the answer names it.
func TestItemsThatFail(t *testing.T) {
	with(t, setup{answer: roots}, func(f fixture) {
		ask := func(data string, items string) (int, string) {
			w := f.call("POST", "/v2/models/single/infer", `{"inputs":[{"name":"x","shape":[`+items+`,2],"datatype":"INT16","data":`+data+`}],"parameters":{"min_accuracy":0.9}}`)
			return w.Code, w.Body.String()
		}
		code, body := ask("[4,9,-1,4,16,25,1,-4]", "4")
		var answer struct {
			Parameters struct {
				FailedItems  string  `json:"failed_items"`
				FailedReason string  `json:"failed_reason"`
				Expected     float64 `json:"expected_accuracy"`
			}
			Outputs []struct{ Data []*float64 }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 {
			t.Fatalf("%d, %s, %v", code, body, err)
		}
		p := answer.Parameters
		if p.FailedItems != "1,3" || !strings.Contains(p.FailedReason, `item 1: `) || !strings.Contains(p.FailedReason, `output "y" is not finite`) || p.Expected != 0.9 {
			t.Errorf("%+v", p)
		}
		var got []float64
		for _, v := range answer.Outputs[0].Data {
			if v == nil {
				got = append(got, -1)
			} else {
				got = append(got, *v)
			}
		}
		want := []float64{2, 3, -1, 2, 4, 5, 1, -1}
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("the outputs are %v, want %v", got, want)
			}
		}
		if code, body := ask("[-1,4,-4,4]", "2"); code != 500 || !strings.Contains(body, "(2 of 2 items failed)") || strings.Contains(body, "outputs") {
			t.Errorf("without any answer: %d, %s", code, body)
		}
		if code, body := ask("[-1,4]", "1"); code != 500 || !strings.Contains(body, `output \"y\" is not finite`) {
			t.Errorf("alone: %d, %s", code, body)
		}
	})
}

// TestManyItemsThatFail checks that a long list of items is in the answer but not in a
// header: proxies and clients refuse answers with long headers.
func TestManyItemsThatFail(t *testing.T) {
	const n = 600
	request := `{"inputs":[{"name":"x","shape":[` + strconv.Itoa(2*n) + `,2],"datatype":"INT16","data":[` +
		strings.Repeat("4,9,-1,4,", n-1) + `4,9,-1,4]}]}`
	with(t, setup{answer: roots}, func(f fixture) {
		w := f.call("POST", "/v2/models/single/infer", request)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"failed_items":"1,3,5,`) {
			t.Fatalf("%d, %.200s", w.Code, w.Body)
		}
		for name, values := range w.Header() {
			if bytes := len(strings.Join(values, "")); bytes > factBytesMax {
				t.Errorf("header %s has %d bytes", name, bytes)
			}
		}
	})
	d := grpcAPI(t, setup{answer: roots, instant: true})
	q := &inference.ModelInferRequest{ModelName: "single", Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "INT16", Shape: []int64{2 * n, 2}}}}
	var data []byte
	for range n {
		for _, x := range []int16{4, 9, -1, 4} {
			data = binary.LittleEndian.AppendUint16(data, uint16(x))
		}
	}
	q.RawInputContents = [][]byte{data}
	var header metadata.MD
	answer, err := d.ModelInfer(t.Context(), q, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	if failed := answer.GetParameters()["failed_items"].GetStringParam(); !strings.HasPrefix(failed, "1,3,5,") {
		t.Errorf("failed_items is %.20q", failed)
	}
	for name, values := range header {
		if bytes := len(strings.Join(values, "")); bytes > factBytesMax {
			t.Errorf("metadata %s has %d bytes", name, bytes)
		}
	}
}
