package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// TestInferSendsTexts makes inputs of BYTES, and leaves texts that the server makes ids of
// as they are.
func TestInferSendsTexts(t *testing.T) {
	served := oip.ModelMetadata{Name: "texts", Inputs: []oip.TensorMetadata{
		{Name: "two", Datatype: "BYTES", Shape: []int64{-1, 2}},
		{Name: "any", Datatype: "BYTES", Shape: []int64{-1, -1}},
		{Name: "one", Datatype: "BYTES", Shape: []int64{-1}},
		{Name: "doc", Datatype: "BYTES", Shape: []int64{-1, 1}},
		{Name: "ids", Datatype: "INT64", Shape: []int64{-1, 8}},
	}, Properties: map[string]string{"media.doc": "text", "media.ids": "text", "tokenizer.ids": "WordPiece"}}
	for _, c := range []struct {
		input string
		shape tensor.Shape
		want  []string
		fault string
	}{
		{`two=["a", "né"]`, tensor.Shape{1, 2}, []string{"a", "né"}, ""},
		{`any=["a", "b", ""]`, tensor.Shape{1, 3}, []string{"a", "b", ""}, ""},
		{`any=a`, tensor.Shape{1, 1}, []string{"a"}, ""},
		{`one=a text`, tensor.Shape{1}, []string{"a text"}, ""},
		{"one=@" + file(t, "x", []byte("of a file")), tensor.Shape{1}, []string{"of a file"}, ""},
		{`doc=a text`, tensor.Shape{1, 1}, []string{"a text"}, ""},
		{`ids=[CLS] a text`, tensor.Shape{1}, []string{"[CLS] a text"}, ""},
		{`two=a`, nil, nil, "input two takes BYTES [2], and 1 texts were given"},
		{`any=[]`, nil, nil, "0 texts were given"},
		{`any=[1]`, nil, nil, "several texts are a JSON list"},
	} {
		got, err := inferFlags{media: map[modelpkg.Media]*string{}, inputs: []string{c.input}}.read(served)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", c.input, err, c.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.input, err)
			continue
		}
		texts, err := tensor.Values[string](got[0])
		if err != nil || !slices.Equal(texts, c.want) || !got[0].Shape.Equal(c.shape) {
			t.Errorf("%s: %v %q, %v; want %v %q", c.input, got[0].Shape, texts, err, c.shape, c.want)
		}
	}
}
