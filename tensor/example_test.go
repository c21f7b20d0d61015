package tensor_test

import (
	"fmt"

	"github.com/mosel-serve/mosel/tensor"
)

func ExampleOf() {
	// Two items of three numbers each.
	x, err := tensor.Of("features", tensor.Shape{2, 3}, []float32{1, 2, 3, 4, 5, 6})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(x.DType, x.Shape, x.Rows(), len(x.Data))
	// Output: FP32 [2,3] 2 24
}

func ExampleStrings() {
	x, err := tensor.Strings("question", tensor.Shape{2}, []string{"Which animal is this?", "How many?"})
	if err != nil {
		fmt.Println(err)
		return
	}
	texts, err := tensor.Values[string](x)
	fmt.Println(x.DType, texts[1], err)
	// Output: BYTES How many? <nil>
}

func ExampleValues() {
	scores, err := tensor.Of("scores", tensor.Shape{1, 3}, []float32{0.1, 0.7, 0.2})
	if err != nil {
		fmt.Println(err)
		return
	}
	values, err := tensor.Values[float32](scores)
	fmt.Println(values, err)

	_, err = tensor.Values[int64](scores)
	fmt.Println(err)
	// Output:
	// [0.1 0.7 0.2] <nil>
	// tensor "scores": the elements are FP32, not INT64 (int64)
}

// Numbers of 16 bits have types of their own.
func ExampleFloat16() {
	weights, err := tensor.Of("weights", tensor.Shape{2}, []tensor.Float16{tensor.ToFloat16(0.5), tensor.ToFloat16(0.1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	values, err := tensor.Values[tensor.Float16](weights)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range values {
		fmt.Println(v.Float32())
	}
	// Output:
	// 0.5
	// 0.099975586
}
