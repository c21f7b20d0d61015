package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestReportOfNumbers: what a model says that does not classify is shown as it is.
func TestReportOfNumbers(t *testing.T) {
	served := oip.ModelMetadata{Name: "m", Properties: map[string]string{"task": "regression"}}
	answer := &client.Response{Outputs: []tensor.Tensor{{Name: "y", DType: tensor.FP32, Shape: tensor.Shape{2, 2}, Data: floats(-0.5, 2, 3, 4.25)}}}
	r, err := newInferReport(served, answer, 0)
	if err != nil || !slices.Equal(r.Numbers, []float64{-0.5, 2}) || r.Label != "" || len(r.Items) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	var b bytes.Buffer
	if r.print(&b); !strings.HasPrefix(b.String(), "   0  -0.5, 2\n   1  3, 4.25\n") {
		t.Errorf("printed\n%s", b.String())
	}
	answer.Outputs[0].Shape[0], answer.Outputs[0].Data = 1, floats(1, 2)
	if r, err = newInferReport(served, answer, 0); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if r.print(&b); !strings.HasPrefix(b.String(), "1, 2\n") {
		t.Errorf("printed\n%s", b.String())
	}
	served.Properties["task"] = "classification"
	if r, err = newInferReport(served, answer, 0); err != nil || r.Label != "1" || r.Numbers != nil {
		t.Errorf("a classification: %+v, %v", r.verdict, err)
	}
	if line := numbersLine(make([]float64, 11)); line != "0, 0, 0, 0, 0, 0, 0, 0, and 3 more" {
		t.Errorf("%q", line)
	}
}
