package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/mosel-serve/mosel/internal/modelpkg"
	"github.com/mosel-serve/mosel/oip"
	"github.com/mosel-serve/mosel/tensor"
)

// many is a model with inputs of all kinds of shapes.
var many = oip.ModelMetadata{Name: "many", Inputs: []oip.TensorMetadata{
	{Name: "pair", Datatype: "INT16", Shape: []int64{-1, 2}},
	{Name: "ids", Datatype: "INT64", Shape: []int64{-1, -1}},
	{Name: "frames", Datatype: "FP32", Shape: []int64{-1, -1, 3}},
	{Name: "free", Datatype: "UINT8", Shape: []int64{-1, -1, -1}},
	{Name: "photo", Datatype: "UINT8", Shape: []int64{-1, 2, 2}},
	{Name: "rate", Datatype: "INT32", Shape: []int64{}},
}, Properties: map[string]string{"media.photo": "image", "batched.rate": "false", "labels": "cat,dog"}}

// npy is an array as numpy.save writes it.
func npy(code, shape string, data []byte) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", code, shape)
	file := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)
	return append(append(file, header...), data...)
}

// asked reads the inputs of a command line for the model.
func asked(inputs ...string) ([]tensor.Tensor, error) {
	return inferFlags{media: map[modelpkg.Media]*string{}, inputs: inputs}.read(many)
}

func TestInferReadsRawBytesAndArrays(t *testing.T) {
	bytesOf := func(n int) []byte {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i)
		}
		return data
	}
	for _, c := range []struct {
		input   string
		content []byte
		shape   tensor.Shape
		bytes   int // of the content's end
	}{
		{"pair", bytesOf(4), tensor.Shape{1, 2}, 4},
		{"ids", bytesOf(40), tensor.Shape{1, 5}, 40},
		{"frames", bytesOf(24), tensor.Shape{1, 2, 3}, 24},
		{"rate", bytesOf(4), tensor.Shape{}, 4},
		{"pair", npy("<i2", "2,", bytesOf(4)), tensor.Shape{1, 2}, 4},
		{"pair", npy("<i2", "1, 2", bytesOf(4)), tensor.Shape{1, 2}, 4},
		{"pair", npy("<i2", "3, 2", bytesOf(12)), tensor.Shape{3, 2}, 12},
		{"ids", npy("<i8", "5,", bytesOf(40)), tensor.Shape{1, 5}, 40},
		{"ids", npy("<i8", "5, 1", bytesOf(40)), tensor.Shape{5, 1}, 40},
		{"free", npy("|u1", "2, 3", bytesOf(6)), tensor.Shape{1, 2, 3}, 6},
		{"photo", npy("|u1", "2, 2", bytesOf(4)), tensor.Shape{1, 2, 2}, 4},
		{"rate", npy("<i4", "", bytesOf(4)), tensor.Shape{}, 4},
	} {
		for _, at := range []string{"", "@"} {
			got, err := asked(c.input + "=" + at + file(t, "x", c.content))
			if err != nil || len(got) != 1 || !got[0].Shape.Equal(c.shape) || !bytes.Equal(got[0].Data, c.content[len(c.content)-c.bytes:]) {
				t.Errorf("%s of %d bytes: %+v, %v, want %v", c.input, len(c.content), got, err, c.shape)
			}
		}
	}
}

func TestInferRefusesWhatDoesNotFit(t *testing.T) {
	data := make([]byte, 24)
	for _, c := range []struct {
		input   string
		content []byte
		say     string
	}{
		{"pair", data, "needs 2 elements"},
		{"ids", data[:20], "the input takes INT64 [-1], which needs a multiple of 8 bytes; there are 20"},
		{"ids", nil, "it has no values"},
		{"frames", data[:20], "a multiple of 12 bytes; there are 20"},
		{"free", data, "give an .npy file"},
		{"pair", npy("<i4", "2,", data[:8]), "the array is INT32, the input takes INT16: convert it with .astype(numpy.int16)"},
		{"frames", npy("<f8", "1, 3", data), "astype(numpy.float32)"},
		{"pair", npy("<i2", "3,", data[:6]), "the array is [3], the input takes [2], or [-1,2] for several items"},
		{"pair", npy("<i2", "1, 3, 2", data[:12]), "the array is [1,3,2]"},
		{"ids", npy("<i8", "0,", nil), "is empty"},
		{"rate", npy("<i4", "1,", data[:4]), "the array is [1], the input takes []"},
		{"photo", npy("<f4", "2, 2", data[:16]), "convert it with .astype(numpy.uint8)"},
		{"ids", npy(">i8", "3,", data), "big-endian"},
		{"ids", []byte("\x93NUMPY\x09\x00"), "version 9"},
	} {
		if got, err := asked(c.input + "=" + file(t, "x", c.content)); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, %v, want %q", c.input, got, err, c.say)
		}
	}
	three, one := file(t, "three", npy("<i2", "3, 2", data[:12])), file(t, "one", npy("<i8", "1, 3", data))
	if _, err := asked("pair="+three, "ids="+one); err == nil || !strings.Contains(err.Error(), "pair has 3 items and input ids has 1") {
		t.Errorf("%v", err)
	}
	if _, err := asked("pair="+three, "rate="+file(t, "rate", data[:4])); err != nil {
		t.Errorf("one value for all items: %v", err)
	}
}

func TestInferReadsNumbers(t *testing.T) {
	for _, c := range []struct {
		input string
		shape tensor.Shape
		data  string
	}{
		{"ids=[1, -2]", tensor.Shape{1, 2}, "\x01\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff"},
		{"rate=[16000]", tensor.Shape{}, "\x80\x3e\x00\x00"},
		{"pair=[1,256]", tensor.Shape{1, 2}, "\x01\x00\x00\x01"},
		{"frames=[0.5,1,-1e0]", tensor.Shape{1, 1, 3}, "\x00\x00\x00\x3f\x00\x00\x80\x3f\x00\x00\x80\xbf"},
	} {
		got, err := asked(c.input)
		if err != nil || !got[0].Shape.Equal(c.shape) || string(got[0].Data) != c.data {
			t.Errorf("%s: %+v, %v", c.input, got, err)
		}
	}
	for input, say := range map[string]string{
		"ids=[1,2":       "not a list of numbers",
		"ids=[1][2]":     "text after the list",
		"ids=[1.5]":      "1.5 is not a valid INT64: invalid syntax",
		"pair=[1,2,3]":   "needs 2 elements",
		"pair=[1,40000]": "40000 is not a valid INT16: value out of range",
		"ids=[]":         "it has no values",
		`ids=["a"]`:      "not a list of numbers",
	} {
		if got, err := asked(input); err == nil || !strings.Contains(err.Error(), say) || !errors.As(err, new(usageError)) {
			t.Errorf("%s: %v, %v, want %q", input, got, err, say)
		}
	}
}

// TestInferSeveralItems sends three items in one array and prints what is said of each.
func TestInferSeveralItems(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/models/many", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(many) })
	mux.HandleFunc("POST /v2/models/many/infer", func(w http.ResponseWriter, _ *http.Request) {
		answer := oip.Response{ModelName: "many", ModelVersion: "1", Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{3, 2}, Data: floats(0.9, 0.1, 0.25, 0.75, 0.6, 0.4)}}}
		text, n, _ := answer.Append(nil, []oip.Form{oip.Binary})
		w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
		_, _ = w.Write(text)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	array := file(t, "x.npy", npy("<i2", "3, 2", make([]byte, 12)))
	out, err := command(t, "infer", "many", "--addr", s.URL, "--input", "pair="+array)
	if want := "   0  cat   90.0 %\n   1  dog   75.0 %\n   2  cat   60.0 %\n"; err != nil || !strings.HasPrefix(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = command(t, "infer", "many", "--addr", s.URL, "--input", "pair="+array, "--json")
	var got struct {
		Label string
		Items []struct {
			Label      string
			Confidence float64
			Top        []struct{ Label string }
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || got.Label != "cat" || len(got.Items) != 3 || got.Items[1].Label != "dog" || len(got.Items[1].Top) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestInferItemsWithoutAnswers prints an answer in which one item has none: its scores
// mean nothing, and those of the others do.
func TestInferItemsWithoutAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/models/many", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(many) })
	mux.HandleFunc("POST /v2/models/many/infer", func(w http.ResponseWriter, _ *http.Request) {
		answer := oip.Response{ModelName: "many", ModelVersion: "1", Outputs: []tensor.Tensor{{Name: "p", DType: tensor.FP32, Shape: tensor.Shape{2, 2}, Data: floats(0.9, 0.1, float32(math.Inf(1)), float32(math.NaN()))}},
			Parameters: oip.Parameters{{Name: "failed_items", Value: oip.String("1")}, {Name: "failed_reason", Value: oip.String("item 1: not finite")},
				{Name: "absent", Value: oip.String("sound:0")}}}
		text, n, _ := answer.Append(nil, []oip.Form{oip.Binary})
		w.Header().Set(oip.HeaderLength, strconv.Itoa(n))
		_, _ = w.Write(text)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	array := file(t, "x.npy", npy("<i2", "2, 2", make([]byte, 8)))
	out, err := command(t, "infer", "many", "--addr", s.URL, "--input", "pair="+array)
	if want := "   0  cat   90.0 %\n   1  no answer\n\nfailed    item 1: not finite\nabsent    sound:0 "; err != nil || !strings.HasPrefix(out, want) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = command(t, "infer", "many", "--addr", s.URL, "--input", "pair="+array, "--json")
	if err != nil || !strings.Contains(out, `"failed": true`) || !strings.Contains(out, `"absent": "sound:0"`) {
		t.Errorf("%v\n%s", err, out)
	}
}
