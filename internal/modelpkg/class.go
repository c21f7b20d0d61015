package modelpkg

import (
	"fmt"
	"math"

	"github.com/mosel-serve/mosel/tensor"
)

// BestClass returns the class with the highest score for one item of a batch, the first
// among equals, and that score. Scores are FP32, FP16 or FP64 [items, classes], with
// any further dimensions of 1.
func BestClass(scores tensor.Tensor, item int) (class int, score float32, err error) {
	d := scores.DType
	if !isScore(d) || len(scores.Shape) < 2 || item >= scores.Rows() || !isClasses(scores.Shape[1:]) {
		return 0, 0, fmt.Errorf("the output %s is %v %v, not FP32, FP16 or FP64 [items, classes] of more than %d items",
			scores.Name, scores.DType, scores.Shape, item)
	}
	data, size := scores.Row(item), d.Size()
	best := math.Inf(-1)
	for i := range len(data) / size {
		s := floatAt(d, data[i*size:])
		if s != s {
			return 0, 0, fmt.Errorf("the score of class %d is not a number", i)
		}
		if s > best {
			class, best = i, s
		}
	}
	return class, float32(best), nil
}

// Floats returns the numbers of one item of a batch of a floating-point output, or nil
// for other element types.
func Floats(output tensor.Tensor, item int) []float64 {
	if !isFloat(output.DType) || item >= output.Rows() {
		return nil
	}
	data, size := output.Row(item), output.DType.Size()
	numbers := make([]float64, len(data)/size)
	for i := range numbers {
		numbers[i] = floatAt(output.DType, data[i*size:])
	}
	return numbers
}

// isScore reports whether the element type can score classes.
func isScore(d tensor.DType) bool { return d == tensor.FP32 || d == tensor.FP16 || d == tensor.FP64 }

// isClasses reports whether a shape has one dimension of classes and otherwise only
// ones.
func isClasses(s tensor.Shape) bool {
	classes := 0
	for _, d := range s {
		if d < 1 {
			return false
		}
		if d > 1 {
			classes++
		}
	}
	return classes == 1 || len(s) == 1
}
