package oip

import (
	"encoding/json"
	"testing"

	"github.com/mosel-serve/mosel/tensor"
)

// FuzzDecodeJSON: whatever is decoded is valid JSON, has sound tensors and means
// the same after it was written and read again; nothing panics.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"inputs":[]}`,
		input(`[2,3]`, "UINT8", `[[1,2,3],[4,5,6]]`),
		input(`[3]`, "FP32", `[0.1,-1e-45,3.4e38]`),
		input(`[2]`, "FP64", `[1.7976931348623157e308,0.30000000000000004]`),
		input(`[2]`, "BYTES", `["a\ud83d\ude00","\n"]`),
		input(`[1,2]`, "BOOL", `[[true,false]]`),
		input(`[2]`, "INT64", `[-9223372036854775808,18446744073709551616]`),
		`{"id":"1","parameters":{"a":1.50,"b":"x","c":true,"binary_data_output":true},"outputs":[{"name":"y","parameters":{"binary_data":false}}],` +
			`"inputs":[{"data":[1],"shape":[1],"datatype":"INT8","name":"x"}],"x":[{"y":null}]}`,
	} {
		f.Add([]byte(seed))
	}
	var q Request // used again and again, as a server does
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := q.Decode(body, AllJSON, DefaultLimits()); err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("decoded, but not JSON: %q", body)
		}
		checkSound(t, q.Inputs)
		checkRoundTrip(t, &q)
	})
}

// FuzzDecodeBinary is the same for bodies with a binary part, read as a request
// and as a response, and for raw requests.
func FuzzDecodeBinary(f *testing.F) {
	head := `{"inputs":[{"name":"a","shape":[1,2],"datatype":"INT16","parameters":{"binary_data_size":4}},` +
		`{"name":"b","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}`
	f.Add([]byte(head+"\x01\x00\x02\x00\x01\x00\x00\x00x"), len(head))
	f.Add([]byte(head+"\x01\x00\x02\x00\xff\xff\xff\xffx"), len(head))
	head = `{"model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}]}`
	f.Add([]byte(head+"\x00\x3c"), len(head))
	f.Add([]byte("12345678"), 0)
	f.Add([]byte(input(`[1]`, "INT8", `[1]`)), -1)
	f.Add([]byte("{}"), -2)
	var q Request
	f.Fuzz(func(t *testing.T, body []byte, jsonBytes int) {
		if q.Decode(body, jsonBytes, DefaultLimits()) == nil {
			checkSound(t, q.Inputs)
			checkRoundTrip(t, &q)
		}
		var p Response
		if p.Decode(body, jsonBytes, DefaultLimits()) == nil {
			checkSound(t, p.Outputs)
		}
		for d := tensor.Bool; d <= tensor.Bytes; d++ {
			if q.DecodeRaw(body, tensor.Tensor{Name: "x", DType: d, Shape: tensor.Shape{-1, int64(jsonBytes)}}) == nil {
				checkSound(t, q.Inputs)
			}
		}
	})
}

// checkSound checks that tensors have the bytes their shapes ask for.
func checkSound(t *testing.T, list []tensor.Tensor) {
	t.Helper()
	for _, x := range list {
		if err := CheckTensor(x); err != nil {
			t.Fatalf("decoded, but unsound: %v", err)
		}
	}
}
