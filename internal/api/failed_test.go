package api

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/runtime/fake"
	"github.com/mosel-serve/mosel/tensor"
)

// roots answers the items of single with the square roots of their two numbers,
// which those below zero do not have.
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
